import assert from "node:assert/strict";
import { test } from "node:test";

import { attempt, host } from "./portcullis-testing.mjs";

const SOURCE = "203.0.113.7";

test("the fifth failure bans for an hour", async () => {
    const bans = await host("ban");
    for (let at = 0; at < 4; at += 1) {
        assert.equal(bans.judge(attempt(SOURCE, { atMs: 1000 * at })), null);
    }
    const order = bans.judge(attempt(SOURCE, { atMs: 4000 }));
    assert.equal(order.duration, 3_600_000);
    assert.equal(order.reason.text, "5 failed logins in a row.");
    assert.equal(bans.kept(attempt(SOURCE)), null, "the count starts again");
});

test("a success sets the count back", async () => {
    const bans = await host("ban", { max_failed_login: 2 });
    assert.equal(bans.judge(attempt(SOURCE)), null);
    assert.equal(bans.judge(attempt(SOURCE, { succeeded: true })), null);
    assert.equal(bans.judge(attempt(SOURCE)), null);
    assert.notEqual(bans.judge(attempt(SOURCE)), null);
});

test("no failures at all is no limit", async () => {
    await assert.rejects(host("ban", { max_failed_login: 0 }), /max_failed_login: found 0, expected at least 1/);
});

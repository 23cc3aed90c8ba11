import assert from "node:assert/strict";
import { test } from "node:test";

import { host, request } from "./portcullis-testing.mjs";

const SOURCE = "203.0.113.7";
const hit = (atSecs, more = {}) => request(SOURCE, "/wp-login.php", 404, { atMs: 1000 * atSecs, ...more });

test("the fifth hit bans for an hour", async () => {
    const bans = await host("scanner");
    for (let at = 0; at < 4; at += 1) {
        assert.equal(bans.judge(hit(at)), null);
    }
    const order = bans.judge(hit(4));
    assert.equal(order.duration, 3_600_000);
    assert.equal(order.reason.text, "5 hits within 60s.");
    assert.equal(bans.kept(hit(4)), null, "a window of its own begins");
});

test("a window ends a minute after its first hit", async () => {
    const bans = await host("scanner", { max_hits: 2 });
    assert.equal(bans.judge(hit(0)), null);
    assert.equal(bans.judge(hit(60)), null);
    assert.notEqual(bans.judge(hit(119)), null);
});

test("other statuses and authenticated clients are no hits", async () => {
    const bans = await host("scanner", { max_hits: 1 });
    assert.equal(bans.judge(request(SOURCE, "/", 200)), null);
    assert.equal(bans.judge(hit(0, { client: "abc" })), null);
    assert.notEqual(bans.judge(hit(0)), null);
});

test("at least one status has to be a hit", async () => {
    await assert.rejects(host("scanner", { statuses: [] }), /statuses: found \[\], expected at least one status/);
});

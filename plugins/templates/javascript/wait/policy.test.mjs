import assert from "node:assert/strict";
import { test } from "node:test";

import { attempt, host } from "./portcullis-testing.mjs";

const failure = (atSecs) => attempt("203.0.113.7", { client: "abc", atMs: 1000 * atSecs });

test("each wait is twice as long, up to a minute", async () => {
    const waits = await host("wait");
    const times = Array.from({ length: 300 }, (_, n) => waits.judge(failure(60 * n)).duration);
    assert.deepEqual(times.slice(0, 7), [1000, 2000, 4000, 8000, 16000, 32000, 60000]);
    assert.ok(times.slice(7).every((time) => time === 60000), "however often");
});

test("a success sets it back", async () => {
    const waits = await host("wait");
    assert.equal(waits.judge(failure(0)).duration, 1000);
    assert.equal(waits.judge(attempt("203.0.113.7", { client: "abc", succeeded: true, atMs: 9000 })), null);
    assert.equal(waits.judge(failure(20)).duration, 1000);
});

test("a quiet quarter of an hour sets it back", async () => {
    const waits = await host("wait");
    assert.equal(waits.judge(failure(0)).duration, 1000);
    assert.equal(waits.judge(failure(899)).duration, 2000);
    assert.equal(waits.judge(failure(899 + 900)).duration, 1000);
});

test("no first wait turns it off", async () => {
    const waits = await host("wait", { first_wait: 0 });
    assert.equal(waits.judge(failure(0)), null);
    assert.equal(waits.kept(failure(0)), null);
});

// The server sums the scores (SCORE_POLICY=total), so a lost or repeated update changes the sum.
import assert from "node:assert/strict";
import { test } from "node:test";
import { control, open, ORIGIN, play, proxy, until } from "./control.js";

// A server starts slowly on a machine with other load.
const SLOW_START = { timeout: 120_000 };

const history = async (player) => (await control("history", player)).scores;
const values = async (player) => (await history(player)).map(([value]) => value);

test("a submitted score is answered with its receipt", async (t) => {
  const { player, scoreboard } = await play(t);

  const receipt = await scoreboard.submit(player.user_id, 120);

  const keys = ["applied", "created_at", "score", "score_id", "user_id"];
  assert.deepEqual(Object.keys(receipt).sort(), keys);
  assert.equal(receipt.user_id, player.user_id);
  assert.equal(receipt.score, 120);
  assert.equal(receipt.applied, true);
});

test("a score can be submitted before the connection is open", async (t) => {
  const player = await control("user", {});
  const { scoreboard } = open(t, { token: player.token });

  assert.equal((await scoreboard.submit(player.user_id, 3)).score, 3);
});

test("every call is a separate update, with a later timestamp than the one before", async (t) => {
  const { player, scoreboard } = await play(t);
  const calls = Array.from({ length: 20 }, (_, place) => place);

  await Promise.all(calls.map((value) => scoreboard.submit(player.user_id, value)));

  const byTime = (await history(player)).sort(([, a], [, b]) => (a < b ? -1 : 1));
  assert.deepEqual(byTime.map(([value]) => value), calls);
  assert.equal(new Set(byTime.map(([, timestamp]) => timestamp)).size, 20);
});

test("a timestamp and a nonce can be passed", async (t) => {
  const { player, scoreboard } = await play(t);
  const options = { timestamp: new Date("2026-01-02T03:04:05Z"), nonce: "a-name-of-mine" };

  const first = await scoreboard.submit(player.user_id, 4, options);
  const again = await scoreboard.submit(player.user_id, 4, options);

  assert.deepEqual(again, first);
  const [[value, timestamp, nonce]] = await history(player);
  assert.deepEqual([value, nonce], [4, "a-name-of-mine"]);
  assert.ok(timestamp.startsWith("2026-01-02 03:04:05"));
});

test("an invalid update is rejected with its errors and not retried", async (t) => {
  const { player, scoreboard } = await play(t);

  await assert.rejects(scoreboard.submit(player.user_id, NaN), (error) => {
    assert.equal(error.name, "ScoreboardError");
    assert.equal(error.code, "invalid_input");
    assert.equal(error.status, 400);
    assert.ok(error.fields.score_value.length > 0);
    return true;
  });
  const used = { nonce: "used-before" };
  await scoreboard.submit(player.user_id, 1, used);
  await assert.rejects(scoreboard.submit(player.user_id, 2, used), { code: "replayed" });
  assert.deepEqual(await values(player), [1]);
});

test("after a lost response the update is sent again, and counts once", async (t) => {
  const network = await proxy(t);
  const { player, scoreboard } = await play(t, network.origin);
  const before = network.connections;

  const lost = network.loseNextResponse();
  const receipt = await scoreboard.submit(player.user_id, 7);
  await lost;

  assert.equal(receipt.score, 7);
  assert.equal(network.connections, before + 1);
  assert.deepEqual(await values(player), [7]);
});

test("a dead connection is replaced, and the score counts once", async (t) => {
  const network = await proxy(t);
  const { player, scoreboard } = await play(t, network.origin);

  network.die();
  const receipt = await scoreboard.submit(player.user_id, 8);

  assert.equal(receipt.score, 8);
  assert.deepEqual(await values(player), [8]);
});

test("a server killed before it stored the score gets it again after the restart", async (t) => {
  const { player, scoreboard } = await play(t);

  await control("lock");
  const submitted = scoreboard.submit(player.user_id, 9, SLOW_START);
  await control("kill");
  await control("unlock");
  assert.deepEqual(await values(player), []);
  await control("start");

  assert.equal((await submitted).score, 9);
  assert.deepEqual(await values(player), [9]);
});

test("a server killed before its response has counted the score once", async (t) => {
  const network = await proxy(t);
  const { player, scoreboard } = await play(t, network.origin);

  const lost = network.loseNextResponse();
  const submitted = scoreboard.submit(player.user_id, 10, SLOW_START);
  await lost;
  await control("kill");
  assert.deepEqual(await values(player), [10]);
  await control("start");

  assert.equal((await submitted).score, 10);
  assert.deepEqual(await values(player), [10]);
});

test("each of 100 concurrent updates counts once despite two restarts", async (t) => {
  const network = await proxy(t);
  const { player, scoreboard } = await play(t, network.origin);
  const all = Array.from({ length: 100 }, (_, place) => place + 1);

  await control("lock");
  const submitted = Promise.all(
    all.map((value) => scoreboard.submit(player.user_id, value, SLOW_START)),
  );
  await control("kill");
  await control("unlock");
  assert.deepEqual(await values(player), []);
  const lost = network.loseNextResponse();
  await control("start");
  await lost;
  await control("kill");
  assert.ok((await values(player)).length > 0);
  await control("start");
  const receipts = await submitted;

  assert.deepEqual((await values(player)).sort((a, b) => a - b), all);
  assert.equal(new Set(receipts.map((receipt) => receipt.score_id)).size, 100);
  assert.equal(Math.max(...receipts.map((receipt) => receipt.score)), 5050);
});

test("each of 600 successive updates counts once despite two kills", async (t) => {
  const { player, scoreboard } = await play(t);
  const receipts = [];
  let next = 0;
  const reached = { 150: null, 450: null };
  for (const count of Object.keys(reached)) {
    reached[count] = new Promise((resolve) => {
      scoreboard.on("score", () => receipts.length >= count && resolve());
    });
  }
  async function keepSubmitting() {
    while (next < 600) {
      next += 1;
      receipts.push(await scoreboard.submit(player.user_id, next, SLOW_START));
    }
  }

  const all = Promise.all(Array.from({ length: 8 }, keepSubmitting));
  for (const count of Object.keys(reached)) {
    await reached[count];
    await control("kill");
    await control("start");
  }
  await all;

  const counted = (await values(player)).sort((a, b) => a - b);
  assert.deepEqual(counted, Array.from({ length: 600 }, (_, place) => place + 1));
  assert.equal(new Set(receipts.map((receipt) => receipt.score_id)).size, 600);
});

test("it waits and retries when rate limited", async (t) => {
  const origin = process.env.LIMITED;
  const { user_id, token } = await control("limited_user");
  const { scoreboard } = open(t, { token }, origin);
  const four = [1, 2, 3, 4];

  const receipts = await Promise.all(four.map((value) => scoreboard.submit(user_id, value)));

  assert.equal(new Set(receipts.map((receipt) => receipt.score_id)).size, 4);
});

test("a timeout has the last error as its cause, and the update", async (t) => {
  const origin = process.env.LIMITED;
  const { user_id, token } = await control("limited_user");
  const { scoreboard } = open(t, { token }, origin);
  await Promise.all([1, 2].map((value) => scoreboard.submit(user_id, value)));

  const error = await scoreboard.submit(user_id, 3, { timeout: 50 }).catch((reason) => reason);

  assert.equal(error.code, "timeout");
  assert.equal(error.cause.code, "rate_limited");
  assert.equal(error.cause.status, 429);
  assert.equal(error.update.score_value, 3);
});

test("after a timeout the same update can be submitted again", async (t) => {
  const network = await proxy(t);
  const { player, scoreboard } = await play(t, network.origin);
  const lost = network.loseNextResponse();
  network.accept = (data) => !/GET/.test(data); // refuses new connections

  const error = await scoreboard
    .submit(player.user_id, 5, { timeout: 1000 })
    .catch((reason) => reason);
  await lost;
  network.accept = () => true;
  const receipt = await scoreboard.submit(player.user_id, 5, error.update);

  assert.equal(error.code, "timeout");
  assert.equal(receipt.score, 5);
  assert.deepEqual(await values(player), [5]);
});

test("an aborted signal stops the retries with its reason", async (t) => {
  const network = await proxy(t);
  const { player, scoreboard } = await play(t, network.origin);
  const controller = new AbortController();
  network.accept = () => false;

  const submitted = scoreboard.submit(player.user_id, 6, { signal: controller.signal });
  const refused = assert.rejects(submitted, { message: "enough" });
  await until(scoreboard, () => scoreboard.state === "offline");
  controller.abort(new Error("enough"));
  await refused;

  network.accept = () => true;
  await until(scoreboard, () => scoreboard.state === "live");
  assert.equal((await scoreboard.submit(player.user_id, 1)).score, 1);
  assert.deepEqual(await values(player), [1]);
});

test("with an aborted signal nothing is sent", async (t) => {
  const { player, scoreboard } = await play(t);

  const submitted = scoreboard.submit(player.user_id, 6, { signal: AbortSignal.abort() });

  await assert.rejects(submitted, { name: "AbortError" });
  assert.equal((await scoreboard.submit(player.user_id, 1)).score, 1);
});

test("close rejects a pending submit", async (t) => {
  const network = await proxy(t);
  const { player, scoreboard } = await play(t, network.origin);
  network.die();

  const submitted = scoreboard.submit(player.user_id, 6);
  scoreboard.close();

  await assert.rejects(submitted, (error) => {
    assert.equal(error.code, "closed");
    assert.equal(error.update.score_value, 6);
    return true;
  });
});

// The server adds scores up (SCORE_POLICY=total): what counts twice, or not at all, shows.
import assert from "node:assert/strict";
import { test } from "node:test";
import { control, line, open, ORIGIN, play, until } from "./control.js";

// A busy machine takes its time to start a server.
const PATIENT = { timeout: 120_000 };

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

test("it may be submitted before there is a connection", async (t) => {
  const player = await control("user", {});
  const { scoreboard } = open(t, { token: player.token });

  assert.equal((await scoreboard.submit(player.user_id, 3)).score, 3);
});

test("every call is an update of its own, the later with the later timestamp", async (t) => {
  const { player, scoreboard } = await play(t);
  const calls = Array.from({ length: 20 }, (_, place) => place);

  await Promise.all(calls.map((value) => scoreboard.submit(player.user_id, value)));

  const byTime = (await history(player)).sort(([, a], [, b]) => (a < b ? -1 : 1));
  assert.deepEqual(byTime.map(([value]) => value), calls);
  assert.equal(new Set(byTime.map(([, timestamp]) => timestamp)).size, 20);
});

test("timestamp and nonce may be given", async (t) => {
  const { player, scoreboard } = await play(t);
  const options = { timestamp: new Date("2026-01-02T03:04:05Z"), nonce: "a-name-of-mine" };

  const first = await scoreboard.submit(player.user_id, 4, options);
  const again = await scoreboard.submit(player.user_id, 4, options);

  assert.deepEqual(again, first);
  const [[value, timestamp, nonce]] = await history(player);
  assert.deepEqual([value, nonce], [4, "a-name-of-mine"]);
  assert.ok(timestamp.startsWith("2026-01-02 03:04:05"));
});

test("what is wrong with the update is told, and not tried again", async (t) => {
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

test("an answer that is lost is asked for again, and the score counts once", async (t) => {
  const wire = await line(t);
  const { player, scoreboard } = await play(t, wire.origin);
  const before = wire.connections;

  const lost = wire.loseNextAnswer();
  const receipt = await scoreboard.submit(player.user_id, 7);
  await lost;

  assert.equal(receipt.score, 7);
  assert.equal(wire.connections, before + 1);
  assert.deepEqual(await values(player), [7]);
});

test("a connection that died without a word is left, and the score counts once", async (t) => {
  const wire = await line(t);
  const { player, scoreboard } = await play(t, wire.origin);

  wire.die();
  const receipt = await scoreboard.submit(player.user_id, 8);

  assert.equal(receipt.score, 8);
  assert.deepEqual(await values(player), [8]);
});

test("a server killed before it wrote the score down gets it again after its restart", async (t) => {
  const { player, scoreboard } = await play(t);

  await control("lock");
  const submitted = scoreboard.submit(player.user_id, 9, PATIENT);
  await control("kill");
  await control("unlock");
  assert.deepEqual(await values(player), []);
  await control("start");

  assert.equal((await submitted).score, 9);
  assert.deepEqual(await values(player), [9]);
});

test("a server killed before it could answer has counted the score once", async (t) => {
  const wire = await line(t);
  const { player, scoreboard } = await play(t, wire.origin);

  const lost = wire.loseNextAnswer();
  const submitted = scoreboard.submit(player.user_id, 10, PATIENT);
  await lost;
  await control("kill");
  assert.deepEqual(await values(player), [10]);
  await control("start");

  assert.equal((await submitted).score, 10);
  assert.deepEqual(await values(player), [10]);
});

test("of a hundred at once, over two restarts, every one counts exactly once", async (t) => {
  const wire = await line(t);
  const { player, scoreboard } = await play(t, wire.origin);
  const all = Array.from({ length: 100 }, (_, place) => place + 1);

  await control("lock");
  const submitted = Promise.all(
    all.map((value) => scoreboard.submit(player.user_id, value, PATIENT)),
  );
  await control("kill");
  await control("unlock");
  assert.deepEqual(await values(player), []);
  const lost = wire.loseNextAnswer();
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

test("of a stream of them, over two kills, every one counts exactly once", async (t) => {
  const { player, scoreboard } = await play(t);
  const receipts = [];
  let next = 0;
  const told = { 150: null, 450: null };
  for (const count of Object.keys(told)) {
    told[count] = new Promise((resolve) => {
      scoreboard.on("score", () => receipts.length >= count && resolve());
    });
  }
  async function keepSubmitting() {
    while (next < 600) {
      next += 1;
      receipts.push(await scoreboard.submit(player.user_id, next, PATIENT));
    }
  }

  const all = Promise.all(Array.from({ length: 8 }, keepSubmitting));
  for (const count of Object.keys(told)) {
    await told[count];
    await control("kill");
    await control("start");
  }
  await all;

  const counted = (await values(player)).sort((a, b) => a - b);
  assert.deepEqual(counted, Array.from({ length: 600 }, (_, place) => place + 1));
  assert.equal(new Set(receipts.map((receipt) => receipt.score_id)).size, 600);
});

test("over the limit, it waits and tries again", async (t) => {
  const origin = process.env.LIMITED;
  const { user_id, token } = await control("limited_user");
  const { scoreboard } = open(t, { token }, origin);
  const four = [1, 2, 3, 4];

  const receipts = await Promise.all(four.map((value) => scoreboard.submit(user_id, value)));

  assert.equal(new Set(receipts.map((receipt) => receipt.score_id)).size, 4);
});

test("after the timeout it says so, with the last refusal and the update", async (t) => {
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

test("after a timeout the very same update can be submitted again", async (t) => {
  const wire = await line(t);
  const { player, scoreboard } = await play(t, wire.origin);
  const lost = wire.loseNextAnswer();
  wire.accept = (data) => !/GET/.test(data); // whoever comes anew is turned away

  const error = await scoreboard
    .submit(player.user_id, 5, { timeout: 1000 })
    .catch((reason) => reason);
  await lost;
  wire.accept = () => true;
  const receipt = await scoreboard.submit(player.user_id, 5, error.update);

  assert.equal(error.code, "timeout");
  assert.equal(receipt.score, 5);
  assert.deepEqual(await values(player), [5]);
});

test("a signal ends the trying with its reason", async (t) => {
  const wire = await line(t);
  const { player, scoreboard } = await play(t, wire.origin);
  const giveUp = new AbortController();
  wire.accept = () => false;

  const submitted = scoreboard.submit(player.user_id, 6, { signal: giveUp.signal });
  const refused = assert.rejects(submitted, { message: "enough" });
  await until(scoreboard, () => scoreboard.state === "offline");
  giveUp.abort(new Error("enough"));
  await refused;

  wire.accept = () => true;
  await until(scoreboard, () => scoreboard.state === "live");
  assert.equal((await scoreboard.submit(player.user_id, 1)).score, 1);
  assert.deepEqual(await values(player), [1]);
});

test("with a signal that was aborted before, nothing is sent", async (t) => {
  const { player, scoreboard } = await play(t);

  const submitted = scoreboard.submit(player.user_id, 6, { signal: AbortSignal.abort() });

  await assert.rejects(submitted, { name: "AbortError" });
  assert.equal((await scoreboard.submit(player.user_id, 1)).score, 1);
});

test("who waits when it is closed is told", async (t) => {
  const wire = await line(t);
  const { player, scoreboard } = await play(t, wire.origin);
  wire.die();

  const submitted = scoreboard.submit(player.user_id, 6);
  scoreboard.close();

  await assert.rejects(submitted, (error) => {
    assert.equal(error.code, "closed");
    assert.equal(error.update.score_value, 6);
    return true;
  });
});

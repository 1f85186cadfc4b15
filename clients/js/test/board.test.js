import assert from "node:assert/strict";
import { test } from "node:test";
import { control, open, play, proxy, until } from "./control.js";

const has = (scoreboard, userId, score) => () =>
  scoreboard.board.some((entry) => entry.user_id === userId && entry.score === score);

test("without a token it watches, and receives the current board first", async (t) => {
  const { user_id } = await control("score", { value: 1000 });

  const { scoreboard, events } = open(t);
  await until(scoreboard, () => events.some(([name]) => name === "board"));

  assert.equal(scoreboard.state, "live");
  assert.deepEqual(scoreboard.board, (await control("top10")).top_10_scores);
  assert.ok(has(scoreboard, user_id, 1000)());
});

test("every update is an event, and so is a changed board", async (t) => {
  const { scoreboard, events } = open(t);
  await until(scoreboard, () => scoreboard.state === "live");

  const { user_id } = await control("score", { value: 1001.5 });
  await until(scoreboard, has(scoreboard, user_id, 1001.5));

  assert.deepEqual(
    events.filter(([name]) => name === "score").map(([, update]) => update),
    [{ user_id, new_score: 1001.5 }],
  );
  assert.deepEqual(events.at(-1), ["board", scoreboard.board]);
});

test("the board is the same array until it changes, also after a lost connection", async (t) => {
  await control("score", { value: 1002 });
  const network = await proxy(t);
  const { scoreboard, events } = open(t, {}, network.origin);
  await until(scoreboard, () => scoreboard.board.length > 0);
  const before = scoreboard.board;

  network.cut();
  await until(scoreboard, () => scoreboard.state === "connecting");
  await until(scoreboard, () => scoreboard.state === "live");
  const { user_id } = await control("score", { value: -5 });
  await until(scoreboard, () => events.some(([, value]) => value.user_id === user_id));

  assert.equal((await control("top10")).top_10_scores.length, before.length + 1);
  await until(scoreboard, has(scoreboard, user_id, -5));
  assert.equal(events.filter(([name]) => name === "board").length, 2);
});

test("the board is read-only", async (t) => {
  await control("score", { value: 1003 });
  const { scoreboard } = open(t);
  await until(scoreboard, () => scoreboard.board.length > 0);

  assert.throws(() => scoreboard.board.pop(), TypeError);
});

test("a subscriber is called for board and state until it unsubscribes", async (t) => {
  const { scoreboard } = open(t);
  const seen = [];
  const unsubscribe = scoreboard.subscribe(() => seen.push([scoreboard.state, scoreboard.board]));
  await until(scoreboard, () => scoreboard.state === "live" && scoreboard.board.length > 0);
  const before = seen.length;

  unsubscribe();
  const { user_id } = await control("score", { value: 1004 });
  await until(scoreboard, has(scoreboard, user_id, 1004));

  assert.deepEqual(seen[0], ["live", []]);
  assert.equal(seen[1][1].length > 0, true);
  assert.equal(seen.length, before);
});

test("without WebSockets it polls", async (t) => {
  const network = await proxy(t);
  network.accept = (data) => !/upgrade: websocket/i.test(data);
  const { scoreboard } = open(t, {}, network.origin);
  await until(scoreboard, () => scoreboard.state === "live");

  const { user_id } = await control("score", { value: 1005 });
  await until(scoreboard, has(scoreboard, user_id, 1005));
});

test("it is offline while the server is down, and current after a restart", async (t) => {
  const { scoreboard, events } = open(t);
  await until(scoreboard, () => scoreboard.state === "live");

  await control("kill");
  await until(scoreboard, () => scoreboard.state === "offline");
  await control("start");
  const { user_id } = await control("score", { value: 1006 });
  await until(scoreboard, has(scoreboard, user_id, 1006));

  assert.deepEqual(
    events.filter(([name]) => name === "state").map(([, state]) => state),
    ["live", "connecting", "offline", "live"],
  );
  assert.ok(events.some(([name, error]) => name === "error" && error.code === "unreachable"));
});

test("it connects once the server has started", async (t) => {
  await control("kill");
  const { scoreboard } = open(t);
  await until(scoreboard, () => scoreboard.state === "offline");

  await control("start");

  await until(scoreboard, () => scoreboard.state === "live");
});

test("after close there are no more events", async (t) => {
  const { player, scoreboard, events } = await play(t);
  const { scoreboard: other } = open(t);
  await until(other, () => other.state === "live");

  scoreboard.close();
  const closed = events.length;
  const { user_id } = await control("score", { value: 1007 });
  await until(other, has(other, user_id, 1007));

  assert.deepEqual(events[closed - 1], ["state", "closed"]);
  assert.equal(events.length, closed);
  await assert.rejects(scoreboard.submit(player.user_id, 1), { code: "closed" });
});

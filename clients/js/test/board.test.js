import assert from "node:assert/strict";
import { test } from "node:test";
import { control, line, open, play, until } from "./control.js";

const has = (scoreboard, userId, score) => () =>
  scoreboard.board.some((entry) => entry.user_id === userId && entry.score === score);

test("without a token it watches, and the present board comes first", async (t) => {
  const { user_id } = await control("score", { value: 1000 });

  const { scoreboard, told } = open(t);
  await until(scoreboard, () => told.some(([name]) => name === "board"));

  assert.equal(scoreboard.state, "live");
  assert.deepEqual(scoreboard.board, (await control("top10")).top_10_scores);
  assert.ok(has(scoreboard, user_id, 1000)());
});

test("every update is told, and the board when it has changed", async (t) => {
  const { scoreboard, told } = open(t);
  await until(scoreboard, () => scoreboard.state === "live");

  const { user_id } = await control("score", { value: 1001.5 });
  await until(scoreboard, has(scoreboard, user_id, 1001.5));

  assert.deepEqual(
    told.filter(([name]) => name === "score").map(([, update]) => update),
    [{ user_id, new_score: 1001.5 }],
  );
  assert.deepEqual(told.at(-1), ["board", scoreboard.board]);
});

test("the board is the same array until it changes, also after a lost connection", async (t) => {
  await control("score", { value: 1002 });
  const wire = await line(t);
  const { scoreboard, told } = open(t, {}, wire.origin);
  await until(scoreboard, () => scoreboard.board.length > 0);
  const before = scoreboard.board;

  wire.cut();
  await until(scoreboard, () => scoreboard.state === "connecting");
  await until(scoreboard, () => scoreboard.state === "live");
  const { user_id } = await control("score", { value: -5 });
  await until(scoreboard, () => told.some(([, value]) => value.user_id === user_id));

  assert.equal((await control("top10")).top_10_scores.length, before.length + 1);
  await until(scoreboard, has(scoreboard, user_id, -5));
  assert.equal(told.filter(([name]) => name === "board").length, 2);
});

test("nobody can change the board but the server", async (t) => {
  await control("score", { value: 1003 });
  const { scoreboard } = open(t);
  await until(scoreboard, () => scoreboard.board.length > 0);

  assert.throws(() => scoreboard.board.pop(), TypeError);
});

test("who subscribes is called for board and state, until the end of the subscription", async (t) => {
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

test("where WebSockets do not get through, it polls", async (t) => {
  const wire = await line(t);
  wire.accept = (data) => !/upgrade: websocket/i.test(data);
  const { scoreboard } = open(t, {}, wire.origin);
  await until(scoreboard, () => scoreboard.state === "live");

  const { user_id } = await control("score", { value: 1005 });
  await until(scoreboard, has(scoreboard, user_id, 1005));
});

test("a server that is gone is told as offline, and found again with its present board", async (t) => {
  const { scoreboard, told } = open(t);
  await until(scoreboard, () => scoreboard.state === "live");

  await control("kill");
  await until(scoreboard, () => scoreboard.state === "offline");
  await control("start");
  const { user_id } = await control("score", { value: 1006 });
  await until(scoreboard, has(scoreboard, user_id, 1006));

  assert.deepEqual(
    told.filter(([name]) => name === "state").map(([, state]) => state),
    ["live", "connecting", "offline", "live"],
  );
  assert.ok(told.some(([name, error]) => name === "error" && error.code === "unreachable"));
});

test("a server that is not there at first is found once it is", async (t) => {
  await control("kill");
  const { scoreboard } = open(t);
  await until(scoreboard, () => scoreboard.state === "offline");

  await control("start");

  await until(scoreboard, () => scoreboard.state === "live");
});

test("once closed, nothing more is told", async (t) => {
  const { player, scoreboard, told } = await play(t);
  const { scoreboard: other } = open(t);
  await until(other, () => other.state === "live");

  scoreboard.close();
  const closed = told.length;
  const { user_id } = await control("score", { value: 1007 });
  await until(other, has(other, user_id, 1007));

  assert.deepEqual(told[closed - 1], ["state", "closed"]);
  assert.equal(told.length, closed);
  await assert.rejects(scoreboard.submit(player.user_id, 1), { code: "closed" });
});

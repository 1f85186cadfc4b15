import assert from "node:assert/strict";
import { test } from "node:test";
import { control, open, play, proxy, until } from "./control.js";

const entriesOf = (scoreboard, board) => scoreboard.boards[board]?.entries ?? [];
const has = (scoreboard, board, userId, score) => () =>
  entriesOf(scoreboard, board).some((entry) => entry.user_id === userId && entry.score === score);
const named = (events, name) => events.filter(([each]) => each === name).map(([, value]) => value);

/** Creates a board without scores and connects to it. */
async function watch(t, settings = {}, origin) {
  const { board } = await control("board", settings);
  const { scoreboard, events } = open(t, { boards: [board] }, origin);
  await until(scoreboard, () => scoreboard.boards[board]);
  return { board, scoreboard, events };
}

test("the current list of each named board comes first, with names and ranks", async (t) => {
  const { board } = await control("board", { order: "asc" });
  const first = await control("score", { value: 1, board });
  const second = await control("score", { value: 2, board });

  const { scoreboard } = open(t, { boards: [board, "main"] });
  await until(scoreboard, () => Object.keys(scoreboard.boards).length === 2);

  assert.deepEqual(scoreboard.boards[board], {
    board,
    season: 1,
    entries: [
      { user_id: first.user_id, username: first.name, score: 1, rank: 1 },
      { user_id: second.user_id, username: second.name, score: 2, rank: 2 },
    ],
  });
  assert.equal(scoreboard.boards.main.board, "main");
  assert.deepEqual(scoreboard.board, []);
});

test("an update is an event of each board in which it counts", async (t) => {
  const source = await control("board");
  const derived = await control("board", { source: source.board, order: "asc" });
  const { scoreboard, events } = open(t, { boards: [source.board, derived.board] });
  await until(scoreboard, () => Object.keys(scoreboard.boards).length === 2);

  const { user_id, name } = await control("score", { value: 7, board: source.board });
  await until(scoreboard, has(scoreboard, derived.board, user_id, 7));
  await until(scoreboard, has(scoreboard, source.board, user_id, 7));

  const update = { season: 1, user_id, username: name, new_score: 7 };
  assert.deepEqual(
    named(events, "score").sort((a, b) => a.board.length - b.board.length),
    [source, derived].map(({ board }) => ({ board, ...update })),
  );
});

test("other boards send nothing", async (t) => {
  const { board, scoreboard, events } = await watch(t);
  const { scoreboard: main, events: mainEvents } = open(t);
  await until(main, () => main.state === "live");

  const other = await control("score", { value: 8 });
  const { user_id } = await control("score", { value: 9, board });
  await until(scoreboard, has(scoreboard, board, user_id, 9));
  await until(main, () => named(mainEvents, "score").length > 0);

  assert.deepEqual(named(events, "score").map((update) => update.user_id), [user_id]);
  assert.deepEqual(named(mainEvents, "score"), [{ user_id: other.user_id, new_score: 8 }]);
});

test("changed settings are an event", async (t) => {
  const { board, scoreboard, events } = await watch(t);

  await control("change", { board, title: "Renamed" });
  await until(scoreboard, () => named(events, "settings").length > 0);

  const [{ settings, ...where }] = named(events, "settings");
  assert.deepEqual(where, { board, season: 1 });
  assert.equal(settings.title, "Renamed");
  assert.equal(settings.board_id, board);
});

test("a new season is an event, followed by its empty list", async (t) => {
  const { board, scoreboard, events } = await watch(t);
  const { user_id } = await control("score", { value: 3, board });
  await until(scoreboard, has(scoreboard, board, user_id, 3));

  await control("end_season", { board });
  await until(scoreboard, () => scoreboard.boards[board].season === 2);

  const [[first, update], [second, list]] = events.slice(-2);
  assert.deepEqual([first, second], ["settings", "board"]);
  assert.equal(update.settings.season.number, 2);
  assert.deepEqual(list, { board, season: 2, entries: [] });
});

test("after a lost connection the lists are current, and unchanged ones are the same", async (t) => {
  const network = await proxy(t);
  const { board } = await control("board");
  const { board: other } = await control("board");
  const { scoreboard, events } = open(t, { boards: [board, other] }, network.origin);
  await until(scoreboard, () => Object.keys(scoreboard.boards).length === 2);
  const before = scoreboard.boards[other];

  network.accept = () => false;
  network.cut();
  await until(scoreboard, () => scoreboard.state === "offline");
  const { user_id } = await control("score", { value: 4, board });
  network.accept = () => true;
  await until(scoreboard, has(scoreboard, board, user_id, 4));
  await control("score", { value: 5, board: other });
  await until(scoreboard, () => entriesOf(scoreboard, other).length === 1);

  assert.equal(named(events, "board").filter((list) => list === before).length, 1);
  assert.equal(named(events, "board").filter((list) => list.board === other).length, 2);
});

test("the lists are read-only, and the same object until one changes", async (t) => {
  const { board, scoreboard } = await watch(t);
  const { boards } = scoreboard;

  assert.throws(() => entriesOf(scoreboard, board).push({}), TypeError);
  assert.throws(() => (boards.main = {}), TypeError);
  await control("change", { board, title: "Same list" });
  assert.equal(scoreboard.boards, boards);
});

test("a score is submitted to the given board", async (t) => {
  const { player, scoreboard } = await play(t);
  const { board } = await control("board");

  const receipt = await scoreboard.submit(player.user_id, 6, { board, season: 1 });

  assert.equal(receipt.board, board);
  assert.equal(receipt.season, 1);
  assert.equal((await control("list", { board })).top_10_scores[0].score, 6);
});

test("an update for an ended season is rejected, and keeps its board", async (t) => {
  const { player, scoreboard } = await play(t);
  const { board } = await control("board");
  await control("end_season", { board });

  await assert.rejects(scoreboard.submit(player.user_id, 6, { board, season: 1 }), (error) => {
    assert.equal(error.code, "season_over");
    assert.equal(error.update.board, board);
    assert.equal(error.update.season, 1);
    return true;
  });
  const { code } = await scoreboard
    .submit(player.user_id, 6, { board: "nowhere" })
    .catch((error) => error);
  assert.equal(code, "unknown_board");
});

test("a run ticket is passed to the board that needs one", async (t) => {
  const { player, scoreboard } = await play(t);
  const { board } = await control("board", { tickets: { min_seconds: 0 } });

  await assert.rejects(scoreboard.submit(player.user_id, 6, { board }), { code: "ticket_required" });
  const ticket = await scoreboard.ticket(board);
  const receipt = await scoreboard.submit(player.user_id, 6, { board, ticket });

  assert.equal(receipt.score, 6);
  await assert.rejects(scoreboard.ticket("nowhere"), { code: "unknown_board" });
});

test("an update whose response is lost counts once on its board", async (t) => {
  const network = await proxy(t);
  const player = await control("user", {});
  const { board } = await control("board", { policy: "total" });
  const options = { token: player.token, boards: [board] };
  const { scoreboard } = open(t, options, network.origin);
  await until(scoreboard, () => scoreboard.state === "live");

  const lost = network.loseNextResponse();
  const receipt = await scoreboard.submit(player.user_id, 5, { board });
  await lost;

  assert.equal(receipt.score, 5);
  assert.equal((await control("list", { board })).top_10_scores[0].score, 5);
});

test("an unknown board is refused with the server's code", async (t) => {
  const { scoreboard, events } = open(t, { boards: ["nowhere"] });

  await until(scoreboard, () => named(events, "error").length > 0);

  assert.equal(scoreboard.state, "refused");
  assert.equal(named(events, "error")[0].code, "unknown_board");
});

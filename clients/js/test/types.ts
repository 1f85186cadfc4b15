// What a TypeScript user may write, and what must not compile.
import { connect, signIn, ScoreboardError, type List, type Receipt, type State } from "scoreboard-client";

const session = await signIn("http://localhost:5000", "ann", "correct horse");
const scoreboard = connect("http://localhost:5000", { token: session.token });

const first: string | undefined = scoreboard.board[0]?.user_id;
const state: State = scoreboard.state;
const unsubscribe: () => void = scoreboard.on("score", (update) => update.new_score.toFixed(0));
scoreboard.on("error", (error) => error.fields?.["user_id"]?.join());

const receipt: Receipt = await scoreboard.submit(session.userId, 1, { timestamp: new Date() });
try {
  await scoreboard.submit(session.userId, 2, { signal: AbortSignal.timeout(1000) });
} catch (error) {
  if (error instanceof ScoreboardError && error.update)
    await scoreboard.submit(session.userId, 2, error.update);
}

const boards = connect("http://localhost:5000", { boards: ["weekly", "main"] });
const weekly: List | undefined = boards.boards["weekly"];
const rank: number | undefined = weekly?.entries[0]?.rank;
boards.on("board", ({ board, season, entries }) => [board, season, entries[0]?.username]);
boards.on("score", (update) => [update.board, update.season, update.new_score]);
boards.on("settings", ({ board, settings }) => [board, settings.title, settings.season.ends_at]);
await scoreboard.submit(session.userId, 3, { board: "weekly", season: 7 });

await scoreboard.submit(session.userId, 4, { ticket: await scoreboard.ticket("weekly") });

// @ts-expect-error - there is no single board
boards.board;
// @ts-expect-error - only with boards
scoreboard.on("settings", () => {});
// @ts-expect-error - the board is not the caller's to change
scoreboard.board.push({ user_id: "x", score: 1 });
// @ts-expect-error - no such event
scoreboard.on("boards", () => {});
// @ts-expect-error - a score is a number
scoreboard.submit(session.userId, "1");
// @ts-expect-error - a source gives strings
connect("http://localhost:5000", { token: () => 1 });

export { first, state, unsubscribe, receipt, rank };

"""The endpoints that need no token."""

PUBLIC_ROUTES = {
    "web.static",
    "web.board",
    "web.docs",
    "web.swagger_ui",
    "web.admin",
    "web.embed",
    "web.join_svg",
    "web.theme_css",
    "web.manifest",
    "web.logo",
    "scores.top10",
    "boards.boards",  # lists only what the token, or everybody, may read
    "auth.join",
    "auth.register",
    "auth.forgot",
    "auth.reset",
    "auth.login",
    "auth.viewer",
    "docs.openapi_json",
    "docs.asyncapi_json",
    "ops.healthz",
    "ops.readyz",
    "ops.metrics",  # its own token: METRICS_TOKEN
}
PUBLIC_BOARD_ROUTES = {
    "leaderboard.page",
    "leaderboard.neighbours",
    "leaderboard.board_top10",
    "leaderboard.board_page",
    "leaderboard.board_neighbours",
    "boards.board",
    "boards.seasons",
}

// A client of the scoreboard in one file: copy it into the Assets folder of a Unity project.
// It needs no packages, and no Unity either. License: MIT.

using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Net;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Scoreboards
{
    using Json = Dictionary<string, object>;

    /// <summary>One line of the board. Equal scores have the same rank.</summary>
    public sealed class Entry
    {
        public readonly string UserId, Username;
        public readonly double Score;
        public readonly int Rank;

        internal Entry(Json json)
        {
            UserId = (string)json["user_id"];
            Username = (string)json["username"];
            Score = (double)json["score"];
            Rank = (int)(double)json["rank"];
        }

        internal static IReadOnlyList<Entry> List(object json)
        {
            return ((List<object>)json).ConvertAll(entry => new Entry((Json)entry));
        }
    }

    /// <summary>An accepted update of any player, and the resulting score.</summary>
    public sealed class ScoreChange
    {
        public readonly string UserId, Username;
        public readonly double NewScore;

        internal ScoreChange(Json json)
        {
            UserId = (string)json["user_id"];
            Username = (string)json["username"];
            NewScore = (double)json["new_score"];
        }
    }

    /// <summary>The server's response to an update, sent when the update is on disk.</summary>
    public sealed class Receipt
    {
        /// <summary>The user's score after the update.</summary>
        public readonly double Score;
        /// <summary>Whether this update set the score.</summary>
        public readonly bool Applied;
        public readonly long ScoreId;

        internal Receipt(Json json)
        {
            Score = (double)json["score"];
            Applied = (bool)json["applied"];
            ScoreId = (long)(double)json["score_id"];
        }
    }

    /// <summary>An update as it is sent. Every retry sends the same, so it counts once.</summary>
    public sealed class Update
    {
        internal readonly string Body;

        internal Update(string body)
        {
            Body = body;
        }
    }

    /// <summary>An error. <c>Code</c> is stable; <c>Message</c> is a sentence for people.</summary>
    public sealed class ScoreboardException : Exception
    {
        /// <summary>A code of the server, or <c>unreachable</c>, <c>timeout</c>.</summary>
        public readonly string Code;
        /// <summary>The HTTP status of the response; 0 if there was none.</summary>
        public readonly int Status;
        /// <summary>After <c>timeout</c>: the update, to continue with later.</summary>
        public readonly Update Update;

        internal ScoreboardException(
            string code, string message, int status, Update update = null, Exception cause = null
        ) : base(message, cause)
        {
            Code = code;
            Status = status;
            Update = update;
        }
    }

    /// <summary>
    /// Signs a player in, submits scores and watches the top 10 of one board.
    /// Methods do not block. Called on Unity's main thread, they continue and raise events on it.
    /// </summary>
    public sealed class ScoreboardClient : IDisposable
    {
        private static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(10);
        private static readonly TimeSpan SubmitTimeout = TimeSpan.FromSeconds(30);
        private static readonly TimeSpan KeepAliveInterval = TimeSpan.FromSeconds(20);
        private const double MinRetryDelay = 0.5, MaxRetryDelay = 5; // seconds
        // How often a refresh without a response is repeated.
        private const int MaxRefreshRetries = 3;

        private readonly string origin, board;
        private readonly HttpClient http = new HttpClient { Timeout = RequestTimeout };
        private readonly SemaphoreSlim renewing = new SemaphoreSlim(1, 1);
        private readonly Random random = new Random();
        private string accessToken, refreshToken;
        private DateTime freshUntil, lastTimestamp;

        /// <param name="origin">for example https://scores.example.com</param>
        /// <param name="board">the id of the board to submit to, read and watch</param>
        public ScoreboardClient(string origin, string board = "main")
        {
            this.origin = origin.TrimEnd('/');
            this.board = board;
        }

        /// <summary>The signed-in user; null if nobody is signed in.</summary>
        public string UserId { get; private set; }

        /// <summary>Whether <c>WatchAsync</c> is connected.</summary>
        public bool IsLive { get; private set; }

        /// <summary>
        /// The new refresh token, after each sign-in and renewal. Store it and pass it to
        /// <c>ResumeAsync</c> at the next start: for a guest it is the only key to the account.
        /// </summary>
        public event Action<string> RefreshTokenChanged;

        /// <summary>The current top 10 first, then every changed one.</summary>
        public event Action<IReadOnlyList<Entry>> Top10Changed;

        /// <summary>Every accepted update, also of players who are not in the top 10.</summary>
        public event Action<ScoreChange> ScoreChanged;

        /// <summary>The new value of <c>IsLive</c>.</summary>
        public event Action<bool> LiveChanged;

        /// <summary>Create a guest with this name. Throws ScoreboardException.</summary>
        public Task JoinAsync(string username, string joinCode = null)
        {
            var body = new Json { ["username"] = username };
            if (joinCode != null) body["join_code"] = joinCode;
            return SignInAsync("auth/join", null, body);
        }

        /// <summary>Sign in with name and password. Throws ScoreboardException.</summary>
        public Task LoginAsync(string username, string password)
        {
            var body = new Json { ["username"] = username, ["password"] = password };
            return SignInAsync("auth/login", null, body);
        }

        /// <summary>
        /// Sign in with a stored refresh token. Throws ScoreboardException; only with status 401
        /// has the sign-in ended, otherwise try again with the same token.
        /// </summary>
        public async Task ResumeAsync(string refreshToken)
        {
            // If the response is lost, the server accepts the same token again for 30 seconds.
            for (int failures = 0; ; failures++)
            {
                try
                {
                    await SignInAsync("auth/refresh", refreshToken, null);
                    return;
                }
                catch (ScoreboardException error)
                    when (IsTemporary(error.Status) && failures < MaxRefreshRetries)
                {
                }
                await Task.Delay(RetryDelay(failures));
            }
        }

        /// <summary>The current top 10. Throws ScoreboardException.</summary>
        public async Task<IReadOnlyList<Entry>> Top10Async()
        {
            Response response = UserId == null
                ? await SendAsync(HttpMethod.Get, Top10Path, null, null)
                : await SendSignedInAsync(HttpMethod.Get, Top10Path, null);
            return Entry.List(response.Success()["top_10_scores"]);
        }

        /// <summary>
        /// Submit a score of the signed-in user, reached now. It counts once, however often it is
        /// sent. Retries for 30 seconds. Throws ScoreboardException with the server's code if the
        /// server refuses it. After <c>timeout</c> it may or may not have counted: pass the
        /// <c>Update</c> of the exception to <c>SubmitAsync</c> to continue.
        /// </summary>
        /// <param name="ticket">for boards with tickets: the result of <c>TicketAsync</c></param>
        public Task<Receipt> SubmitAsync(double score, string ticket = null)
        {
            // Later than those before, because a retry can arrive after a later update.
            DateTime now = DateTime.UtcNow, next = lastTimestamp.AddMilliseconds(1);
            lastTimestamp = now > next ? now : next;
            var body = new Json
            {
                ["board"] = board,
                ["user_id"] = RequireUser(),
                ["score_value"] = score,
                ["timestamp"] = lastTimestamp.ToString(
                    "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture),
                ["nonce"] = Guid.NewGuid().ToString("N"),
            };
            if (ticket != null) body["ticket"] = ticket;
            return SubmitAsync(new Update(JsonText.Write(body)));
        }

        /// <summary>Continue with an update whose receipt did not arrive.</summary>
        public async Task<Receipt> SubmitAsync(Update update)
        {
            DateTime deadline = DateTime.UtcNow + SubmitTimeout;
            ScoreboardException cause = null;
            for (int failures = 0; DateTime.UtcNow < deadline; failures++)
            {
                TimeSpan delay = RetryDelay(failures);
                try
                {
                    Response response =
                        await SendSignedInAsync(HttpMethod.Post, "score/update", update.Body);
                    // An earlier attempt counted, but its response was lost.
                    if (response.Receipt != null) return new Receipt(response.Receipt);
                    if (response.RetryAfter > delay) delay = response.RetryAfter;
                    return new Receipt(response.Success());
                }
                catch (ScoreboardException error) when (IsTemporary(error.Status))
                {
                    cause = error;
                }
                TimeSpan left = deadline - DateTime.UtcNow;
                if (left > TimeSpan.Zero) await Task.Delay(delay < left ? delay : left);
            }
            throw new ScoreboardException(
                "timeout", "There was no receipt within 30 s.", 0, update, cause);
        }

        /// <summary>A ticket for a run that starts now. Throws ScoreboardException.</summary>
        public async Task<string> TicketAsync()
        {
            RequireUser();
            string body = JsonText.Write(new Json { ["board"] = board });
            Response response = await SendSignedInAsync(HttpMethod.Post, "score/ticket", body);
            return (string)response.Success()["ticket"];
        }

        /// <summary>
        /// Watch the board and raise the events; reconnect after lost connections. Returns when
        /// cancelled. Throws ScoreboardException if the server refuses the user or the board.
        /// </summary>
        public async Task WatchAsync(CancellationToken cancel)
        {
            string refused = null;
            for (int failures = 0; !cancel.IsCancellationRequested; failures++)
            {
                try
                {
                    string token = await TokenAsync(refused);
                    refused = null;
                    using (var socket = new ClientWebSocket())
                    {
                        if (await OpenAsync(socket, token, cancel))
                        {
                            failures = 0;
                            await RaiseEventsAsync(socket, cancel);
                        }
                        else if (!cancel.IsCancellationRequested)
                        {
                            // The socket does not expose why the server refused it. This throws if
                            // the server is unreachable or refuses the board; else it is the token.
                            (await SendAsync(HttpMethod.Get, Top10Path, token, null)).Success();
                            refused = token;
                        }
                    }
                }
                catch (ScoreboardException error) when (IsTemporary(error.Status))
                {
                }
                // Also after a close by the server, so that not all clients reconnect at once.
                await Task.WhenAny(Task.Delay(RetryDelay(failures), cancel));
            }
        }

        public void Dispose()
        {
            http.Dispose();
        }

        private string Top10Path
        {
            get { return "boards/" + Uri.EscapeDataString(board) + "/top10"; }
        }

        private string RequireUser()
        {
            if (UserId == null) throw new InvalidOperationException("Sign in first.");
            return UserId;
        }

        private async Task SignInAsync(string path, string token, Json body)
        {
            string text = body == null ? null : JsonText.Write(body);
            Json pair = (await SendAsync(HttpMethod.Post, path, token, text)).Success();
            UserId = (string)pair["user_id"];
            SetAccessToken(pair);
            refreshToken = (string)pair["refresh_token"];
            RefreshTokenChanged?.Invoke(refreshToken);
        }

        private void SetAccessToken(Json response)
        {
            accessToken = (string)response["access_token"];
            freshUntil = DateTime.UtcNow.AddSeconds((double)response["expires_in"] * 0.9);
        }

        /// <summary>
        /// The access token of the user, or a read-only one if nobody is signed in. Gets a new one
        /// if it is about to expire or is the refused one.
        /// </summary>
        private async Task<string> TokenAsync(string refused)
        {
            // A refresh token can be used once, so concurrent callers share one request.
            await renewing.WaitAsync();
            try
            {
                if (accessToken != null && accessToken != refused && DateTime.UtcNow < freshUntil)
                    return accessToken;
                if (refreshToken != null)
                    await ResumeAsync(refreshToken);
                else
                    SetAccessToken(
                        (await SendAsync(HttpMethod.Post, "auth/viewer", null, null)).Success());
                return accessToken;
            }
            finally
            {
                renewing.Release();
            }
        }

        /// <summary>Send a request with the user's token; again if the token is refused.</summary>
        private async Task<Response> SendSignedInAsync(HttpMethod method, string path, string body)
        {
            string token = await TokenAsync(null);
            Response response = await SendAsync(method, path, token, body);
            if (response.Status != 401 || response.ErrorCode == "not_permitted") return response;
            return await SendAsync(method, path, await TokenAsync(token), body);
        }

        /// <summary>Throws ScoreboardException if there is no response.</summary>
        private async Task<Response> SendAsync(
            HttpMethod method, string path, string token, string body
        )
        {
            using (var request = new HttpRequestMessage(method, origin + "/api/" + path))
            {
                if (token != null)
                    request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
                if (body != null)
                    request.Content = new StringContent(body, Encoding.UTF8, "application/json");
                try
                {
                    using (HttpResponseMessage response = await http.SendAsync(request))
                        return new Response(response, await response.Content.ReadAsStringAsync());
                }
                catch (Exception cause) when (IsNetworkError(cause))
                {
                    throw new ScoreboardException(
                        "unreachable", "The server did not respond.", 0, null, cause);
                }
            }
        }

        /// <summary>Open the socket; false if the server is unreachable or refuses it.</summary>
        private async Task<bool> OpenAsync(
            ClientWebSocket socket, string token, CancellationToken cancel
        )
        {
            string address = "ws" + origin.Substring("http".Length) + "/ws/scoreboard?board=";
            socket.Options.SetRequestHeader("Authorization", "Bearer " + token);
            socket.Options.KeepAliveInterval = KeepAliveInterval;
            using (var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel))
            {
                deadline.CancelAfter(RequestTimeout);
                try
                {
                    var uri = new Uri(address + Uri.EscapeDataString(board));
                    await socket.ConnectAsync(uri, deadline.Token);
                    return true;
                }
                catch (Exception error) when (IsNetworkError(error))
                {
                    return false;
                }
            }
        }

        private async Task RaiseEventsAsync(ClientWebSocket socket, CancellationToken cancel)
        {
            SetLive(true);
            try
            {
                string text;
                while ((text = await ReceiveAsync(socket, cancel)) != null)
                {
                    var message = (Json)JsonText.Read(text);
                    var data = (Json)message["data"];
                    if ((string)message["type"] == "top_10_update")
                        Top10Changed?.Invoke(Entry.List(data["top_10_scores"]));
                    else if ((string)message["type"] == "score_update")
                        ScoreChanged?.Invoke(new ScoreChange(data));
                }
            }
            finally
            {
                SetLive(false);
            }
        }

        /// <summary>The next message; null when the connection ends or is cancelled.</summary>
        private static async Task<string> ReceiveAsync(
            ClientWebSocket socket, CancellationToken cancel
        )
        {
            var buffer = new ArraySegment<byte>(new byte[4096]);
            using (var message = new MemoryStream())
            {
                try
                {
                    WebSocketReceiveResult part;
                    do
                    {
                        part = await socket.ReceiveAsync(buffer, cancel);
                        if (part.MessageType == WebSocketMessageType.Close) return null;
                        message.Write(buffer.Array, 0, part.Count);
                    } while (!part.EndOfMessage);
                }
                catch (Exception error) when (IsNetworkError(error))
                {
                    return null;
                }
                return Encoding.UTF8.GetString(message.ToArray());
            }
        }

        private void SetLive(bool isLive)
        {
            IsLive = isLive;
            LiveChanged?.Invoke(isLive);
        }

        /// <summary>Between half and all of a delay that doubles with each failure.</summary>
        private TimeSpan RetryDelay(int failures)
        {
            double delay = Math.Min(MinRetryDelay * Math.Pow(2, failures), MaxRetryDelay);
            lock (random) return TimeSpan.FromSeconds(delay * (0.5 + random.NextDouble() / 2));
        }

        private static bool IsTemporary(int status)
        {
            return status == 0 || status == 429 || status >= 500;
        }

        /// <summary>Whether the network caused it; the runtimes throw different types.</summary>
        private static bool IsNetworkError(Exception error)
        {
            return error is HttpRequestException || error is WebException
                || error is WebSocketException || error is SocketException || error is IOException
                || error is OperationCanceledException || error is ObjectDisposedException;
        }
    }

    /// <summary>A response in JSON. Its status is 0 if a proxy sent something else.</summary>
    internal sealed class Response
    {
        public readonly int Status;
        public readonly Json Body;
        public readonly TimeSpan RetryAfter;

        public Response(HttpResponseMessage response, string text)
        {
            try
            {
                Body = JsonText.Read(text) as Json;
            }
            catch (FormatException)
            {
            }
            Status = Body == null ? 0 : (int)response.StatusCode;
            RetryAfter = response.Headers.RetryAfter?.Delta ?? TimeSpan.Zero;
        }

        private Json Failure
        {
            get
            {
                object error = null;
                Body?.TryGetValue("error", out error);
                return error as Json;
            }
        }

        public string ErrorCode
        {
            get { return (string)Failure?["code"]; }
        }

        public Json Receipt
        {
            get
            {
                object receipt = null;
                Failure?.TryGetValue("receipt", out receipt);
                return receipt as Json;
            }
        }

        /// <summary>The body. Throws ScoreboardException if it is an error.</summary>
        public Json Success()
        {
            if (Status >= 200 && Status < 300) return Body;
            Json failure = Failure;
            if (failure == null)
                throw new ScoreboardException("unreachable", "A proxy sent the response.", 0);
            throw new ScoreboardException(ErrorCode, (string)failure["message"], Status);
        }
    }

    /// <summary>
    /// JSON without reflection, which IL2CPP may strip: objects are dictionaries, arrays lists,
    /// numbers doubles.
    /// </summary>
    internal sealed class JsonText
    {
        private readonly string text;
        private int position;

        private JsonText(string text)
        {
            this.text = text;
        }

        /// <summary>Throws FormatException if the text is not JSON.</summary>
        public static object Read(string text)
        {
            var reader = new JsonText(text);
            object value = reader.Value();
            reader.SkipSpace();
            if (reader.position < text.Length) throw reader.Invalid();
            return value;
        }

        /// <summary>Write an object whose values are strings and doubles.</summary>
        public static string Write(Json json)
        {
            var members = new List<string>();
            foreach (KeyValuePair<string, object> member in json)
            {
                string value = member.Value is double
                    ? ((double)member.Value).ToString("R", CultureInfo.InvariantCulture)
                    : Quote((string)member.Value);
                members.Add(Quote(member.Key) + ":" + value);
            }
            return "{" + string.Join(",", members) + "}";
        }

        private static string Quote(string value)
        {
            var quoted = new StringBuilder("\"");
            foreach (char each in value)
            {
                if (each == '"' || each == '\\') quoted.Append('\\').Append(each);
                else if (each < ' ') quoted.Append("\\u").Append(((int)each).ToString("x4"));
                else quoted.Append(each);
            }
            return quoted.Append('"').ToString();
        }

        private object Value()
        {
            SkipSpace();
            switch (Next())
            {
                case '{': return Object();
                case '[': return Array();
                case '"': return String();
                case 't': return Word("true", true);
                case 'f': return Word("false", false);
                case 'n': return Word("null", null);
                default: return Number();
            }
        }

        private Json Object()
        {
            var members = new Json();
            for (bool more = Begin('}'); more; more = Continue('}'))
            {
                SkipSpace();
                string name = String();
                SkipSpace();
                Expect(':');
                members[name] = Value();
            }
            return members;
        }

        private List<object> Array()
        {
            var values = new List<object>();
            for (bool more = Begin(']'); more; more = Continue(']')) values.Add(Value());
            return values;
        }

        /// <summary>Skip the opening bracket; return whether there is a first value.</summary>
        private bool Begin(char end)
        {
            position++;
            SkipSpace();
            if (Next() != end) return true;
            position++;
            return false;
        }

        /// <summary>Skip a comma or the closing bracket; return whether it was a comma.</summary>
        private bool Continue(char end)
        {
            SkipSpace();
            bool more = Next() == ',';
            Expect(more ? ',' : end);
            return more;
        }

        private string String()
        {
            Expect('"');
            var value = new StringBuilder();
            while (Next() != '"')
            {
                if (position == text.Length) throw Invalid();
                char each = text[position++];
                value.Append(each == '\\' ? Escape() : each);
            }
            position++;
            return value.ToString();
        }

        private char Escape()
        {
            char each = Next();
            position++;
            switch (each)
            {
                case 'b': return '\b';
                case 'f': return '\f';
                case 'n': return '\n';
                case 'r': return '\r';
                case 't': return '\t';
                case 'u':
                    position += 4;
                    if (position > text.Length) throw Invalid();
                    string digits = text.Substring(position - 4, 4);
                    return (char)ushort.Parse(digits, NumberStyles.HexNumber);
                default: return each;
            }
        }

        private object Word(string word, object value)
        {
            foreach (char each in word) Expect(each);
            return value;
        }

        private object Number()
        {
            int start = position;
            while ("+-.0123456789eE".IndexOf(Next()) >= 0) position++;
            string digits = text.Substring(start, position - start);
            return double.Parse(digits, NumberStyles.Float, CultureInfo.InvariantCulture);
        }

        private void SkipSpace()
        {
            while (" \t\r\n".IndexOf(Next()) >= 0) position++;
        }

        private void Expect(char expected)
        {
            if (Next() != expected) throw Invalid();
            position++;
        }

        /// <summary>The next character; NUL at the end, which JSON does not contain.</summary>
        private char Next()
        {
            return position < text.Length ? text[position] : '\0';
        }

        private FormatException Invalid()
        {
            return new FormatException("Invalid JSON at character " + position + ".");
        }
    }
}

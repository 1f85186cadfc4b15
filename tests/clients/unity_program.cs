// A program that uses Scoreboard.cs as a game does. Prints one line for each event and result.
using System;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Scoreboards;

public static class Program
{
    public static int Main(string[] arguments)
    {
        Console.OutputEncoding = new UTF8Encoding(false);
        using (var client = new ScoreboardClient(arguments[1], arguments[2]))
        {
            try
            {
                RunAsync(client, arguments[0], arguments.Skip(3).ToArray()).Wait();
            }
            catch (AggregateException error) when (error.InnerException is ScoreboardException)
            {
                var inner = (ScoreboardException)error.InnerException;
                Print("error " + inner.Code + " " + inner.Status);
            }
        }
        return 0;
    }

    private static async Task RunAsync(ScoreboardClient client, string action, string[] arguments)
    {
        client.RefreshTokenChanged += token => Print("refresh token " + token);
        client.LiveChanged += isLive => Print(isLive ? "live" : "offline");
        client.ScoreChanged += change => Print("score " + change.Username + " " + change.NewScore);
        client.Top10Changed += entries => Print("top10 " + string.Join(", ", entries.Select(Line)));
        if (arguments.Length == 2)
            await client.LoginAsync(arguments[0], arguments[1]);
        else if (arguments.Length == 1)
            await client.JoinAsync(arguments[0]);
        if (action == "watch")
            await client.WatchAsync(CancellationToken.None);
        else if (action == "submit")
            Print("receipt " + (await client.SubmitAsync(120.5)).Score);
        else if (action == "play")
            await PlayAsync(client);
    }

    private static async Task PlayAsync(ScoreboardClient client)
    {
        var changed = new TaskCompletionSource<bool>();
        client.Top10Changed += entries =>
        {
            if (entries.Any(entry => entry.UserId == client.UserId)) changed.TrySetResult(true);
        };
        using (var cancel = new CancellationTokenSource())
        {
            Task watching = client.WatchAsync(cancel.Token);
            await client.SubmitAsync(7, await client.TicketAsync());
            await Task.WhenAny(changed.Task, watching);
            cancel.Cancel();
            await watching;
        }
        Print("read " + string.Join(", ", (await client.Top10Async()).Select(Line)));
    }

    private static string Line(Entry entry)
    {
        return entry.Rank + " " + entry.Username + " " + entry.Score;
    }

    private static void Print(string line)
    {
        Console.WriteLine(line);
        Console.Out.Flush();
    }
}

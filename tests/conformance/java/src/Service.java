import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.function.BiFunction;

/**
 * A breaker service around a breaker library of Java: `java Service resilience4j`.
 *
 * <p>The library decides; what stands here is the same for all of them: GET /call, /breakers, /breakers/events, a ready line, and the
 * end on SIGTERM or when standard input ends. A caller that goes away ends nothing: the JDK's server does not notice.
 */
public final class Service {
    private static final Map<String, BiFunction<Settings, Transitions, Guard>> LIBRARIES =
            Map.of("resilience4j", Resilience4jGuard::new, "failsafe", FailsafeGuard::new);
    private static final long KEEP_ALIVE_MS = 1000;

    private final Settings settings;
    private final Transitions transitions;
    private final Guard guard;
    private final Upstream upstream;

    private Service(Settings settings) {
        this.settings = settings;
        transitions = new Transitions(settings);
        guard = LIBRARIES.get(settings.library()).apply(settings, transitions);
        upstream = new Upstream(settings.upstream(), settings.timeout());
    }

    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 1 || !LIBRARIES.containsKey(arguments[0])) {
            System.err.println("usage: java Service resilience4j|failsafe");
            System.exit(1);
        }
        // Otherwise an answer waits up to 40 ms for the acknowledgement of its own headers.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        try {
            new Service(Settings.read(arguments[0])).serve();
        } catch (IllegalArgumentException | IOException error) {
            System.err.println(error.getMessage());
            System.exit(1);
        }
    }

    private void serve() throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(settings.host(), settings.port()), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/call", this::call);
        server.createContext("/breakers", this::breakers);
        server.createContext("/breakers/events", this::events);
        server.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            server.stop(0);
            Runtime.getRuntime().halt(0); // ended as told, not "killed by a signal"
        }));
        System.out.printf(
                "{\"ready\":true,\"service\":\"%s\",\"instance\":\"%s\",\"boot\":\"%s\",\"pid\":%d,\"url\":\"http://%s:%d\"}%n",
                settings.library(), settings.instance(), settings.boot(), ProcessHandle.current().pid(),
                settings.host(), server.getAddress().getPort());
        System.out.flush();
        System.in.transferTo(OutputStream.nullOutputStream());
        System.exit(0);
    }

    private void call(HttpExchange exchange) throws IOException {
        String requestId = exchange.getRequestHeaders().getFirst("X-Request-Id");
        int status = 200;
        String word = "ok";
        try {
            guard.run(() -> upstream.get(requestId));
        } catch (Guard.Rejected refusal) {
            status = 503;
            word = "rejected";
        } catch (Exception failure) {
            status = 502;
            word = "failed";
        }
        exchange.getResponseHeaders().set("X-Breaker", word);
        exchange.getResponseHeaders().set("X-Instance", settings.instance());
        answer(exchange, status, "text/plain", word + "\n");
    }

    private void breakers(HttpExchange exchange) throws IOException {
        answer(exchange, 200, "application/json", String.format(
                "{\"instance\":\"%s\",\"boot\":\"%s\",\"breakers\":{\"%s\":{\"state\":\"%s\",\"spec\":{\"dialect\":\"%s\",\"failures\":%d,"
                        + "\"wait_ms\":%d,\"timeout_ms\":%d,\"permitted\":%d,\"successes\":%d}}},\"last_seq\":%d,\"now_ns\":%d}",
                settings.instance(), settings.boot(), settings.breaker(), guard.state(), settings.library(), settings.failures(),
                settings.hold().toMillis(), settings.timeout().toMillis(), settings.permitted(), settings.successes(),
                transitions.lastSeq(), System.nanoTime()));
    }

    private void events(HttpExchange exchange) throws IOException {
        String asked = parameter(exchange, "since", exchange.getRequestHeaders().getFirst("Last-Event-ID"));
        if (asked != null && !asked.matches("[0-9]{1,18}")) {
            answer(exchange, 400, "application/json", "{\"error\":\"since must be a whole number\"}");
            return;
        }
        long seq = asked == null ? 0 : Long.parseLong(asked);
        if (seq > transitions.lastSeq() || !settings.boot().equals(parameter(exchange, "boot", settings.boot()))) {
            seq = 0; // a number of an earlier start: everything here is news to this reader
        }
        exchange.getResponseHeaders().set("Content-Type", "text/event-stream");
        exchange.getResponseHeaders().set("Cache-Control", "no-store");
        exchange.getResponseHeaders().set("X-Instance", settings.instance());
        exchange.sendResponseHeaders(200, 0);
        try (OutputStream out = exchange.getResponseBody()) {
            say(out, ": " + settings.instance() + " " + settings.boot() + "\n\n");
            while (true) {
                List<Transitions.Entry> fresh = transitions.after(seq, KEEP_ALIVE_MS);
                for (Transitions.Entry entry : fresh) {
                    seq = entry.seq();
                    say(out, "id: " + seq + "\ndata: " + entry.json() + "\n\n");
                }
                if (fresh.isEmpty()) {
                    say(out, ": " + System.nanoTime() + "\n\n");
                }
            }
        } catch (IOException gone) {
            exchange.close(); // the reader has gone
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        }
    }

    private static String parameter(HttpExchange exchange, String name, String otherwise) {
        String query = exchange.getRequestURI().getRawQuery();
        return Arrays.stream(query == null ? new String[0] : query.split("&"))
                .filter(pair -> pair.startsWith(name + "="))
                .map(pair -> URLDecoder.decode(pair.substring(name.length() + 1), StandardCharsets.UTF_8))
                .findFirst()
                .orElse(otherwise);
    }

    private static void say(OutputStream out, String text) throws IOException {
        out.write(text.getBytes(StandardCharsets.UTF_8));
        out.flush();
    }

    private static void answer(HttpExchange exchange, int status, String type, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", type);
        exchange.sendResponseHeaders(status, body.length);
        try (OutputStream out = exchange.getResponseBody()) {
            out.write(body);
        }
        exchange.close();
    }
}

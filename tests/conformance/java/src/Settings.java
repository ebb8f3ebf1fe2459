import java.security.SecureRandom;
import java.time.Duration;
import java.util.HexFormat;

/** What is asked of the breaker, by environment variables alone. */
record Settings(
        String library,
        String upstream,
        String breaker,
        int failures,
        Duration hold,
        int permitted,
        int successes,
        Duration timeout,
        String instance,
        String boot,
        String host,
        int port) {

    static Settings read(String library) {
        String upstream = text("UPSTREAM", "").replaceAll("/$", "");
        if (!upstream.matches("http://[^/:]+:[0-9]+")) {
            throw new IllegalArgumentException("UPSTREAM='" + upstream + "' is not like http://127.0.0.1:9100");
        }
        String listen = text("LISTEN", "127.0.0.1:0");
        int colon = listen.lastIndexOf(':');
        byte[] boot = new byte[6];
        new SecureRandom().nextBytes(boot);
        return new Settings(
                library,
                upstream,
                name("BREAKER", "dependency"),
                whole("FAILURES", 3),
                Duration.ofMillis(whole("WAIT_MS", 1000)),
                whole("PERMITTED", 1),
                whole("SUCCESSES", 1),
                Duration.ofMillis(whole("CALL_TIMEOUT_MS", 300)),
                name("INSTANCE", "service-1"),
                HexFormat.of().formatHex(boot),
                listen.substring(0, colon),
                Integer.parseInt(listen.substring(colon + 1)));
    }

    private static String text(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    /** Names stand in JSON that is written by hand. */
    private static String name(String name, String otherwise) {
        String text = text(name, otherwise);
        if (!text.matches("[A-Za-z0-9_.-]+")) {
            throw new IllegalArgumentException(name + "='" + text + "' may have letters, digits, '_', '.' and '-'");
        }
        return text;
    }

    private static int whole(String name, int otherwise) {
        String text = text(name, Integer.toString(otherwise));
        if (!text.matches("[1-9][0-9]{0,8}")) {
            throw new IllegalArgumentException(name + "='" + text + "' is not a whole number above 0");
        }
        return Integer.parseInt(text);
    }
}

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

/**
 * One GET on a connection of its own, with a time limit for all of it. The JDK's own clients send a request again by themselves when
 * a connection breaks before its answer; here one call is one request.
 */
final class Upstream {
    private final String host;
    private final int port;
    private final long timeoutNs;

    Upstream(String url, Duration timeout) {
        URI uri = URI.create(url);
        host = uri.getHost();
        port = uri.getPort();
        timeoutNs = timeout.toNanos();
    }

    /** IOException if there was no answer in time, or if it was an error. */
    Void get(String requestId) throws IOException {
        long until = System.nanoTime() + timeoutNs;
        try (Socket socket = new Socket()) {
            socket.setTcpNoDelay(true);
            socket.connect(new InetSocketAddress(host, port), left(until));
            String id = requestId == null ? "" : "X-Request-Id: " + requestId + "\r\n";
            String request = "GET / HTTP/1.1\r\nHost: " + host + ":" + port + "\r\n" + id + "Connection: close\r\n\r\n";
            socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            InputStream answer = new BufferedInputStream(socket.getInputStream());
            StringBuilder status = new StringBuilder();
            boolean inStatus = true;
            for (int read; (read = readOne(socket, answer, until)) >= 0; ) {
                inStatus &= read != '\r';
                if (inStatus) {
                    status.append((char) read);
                }
            }
            if (!status.toString().matches("HTTP/1\\.[01] [1-4][0-9][0-9].*")) {
                throw new IOException("the dependency answered " + status);
            }
            return null;
        }
    }

    private static int readOne(Socket socket, InputStream answer, long until) throws IOException {
        socket.setSoTimeout(left(until));
        return answer.read();
    }

    private static int left(long until) throws SocketTimeoutException {
        long leftMs = (until - System.nanoTime() + 999_999) / 1_000_000;
        if (leftMs <= 0) {
            throw new SocketTimeoutException("the call took too long");
        }
        return (int) leftMs;
    }
}

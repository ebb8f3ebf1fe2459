import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/** A ring of transitions, numbered from 1 without gaps; instants are of the monotonic clock, in nanoseconds. */
final class Transitions {
    private static final int RING_SIZE = 4096;

    record Entry(long seq, String json) {}

    private final Settings settings;
    private final Deque<Entry> ring = new ArrayDeque<>();
    private long seq;

    Transitions(Settings settings) {
        this.settings = settings;
    }

    synchronized void record(String from, String to) {
        long now = System.nanoTime(); // CLOCK_MONOTONIC on Linux
        seq++;
        ring.add(new Entry(seq, String.format(
                "{\"seq\":%d,\"breaker\":\"%s\",\"instance\":\"%s\",\"boot\":\"%s\",\"from\":\"%s\",\"to\":\"%s\",\"at_ns\":%d,\"since_ns\":%d}",
                seq, settings.breaker(), settings.instance(), settings.boot(), from, to, now, now)));
        if (ring.size() > RING_SIZE) {
            ring.remove();
        }
        notifyAll();
    }

    synchronized long lastSeq() {
        return seq;
    }

    /** What is newer than `after`; waits up to so many milliseconds for the first. */
    synchronized List<Entry> after(long after, long waitMs) throws InterruptedException {
        if (seq <= after) {
            wait(waitMs);
        }
        List<Entry> fresh = new ArrayList<>();
        for (Entry entry : ring) {
            if (entry.seq() > after) {
                fresh.add(entry);
            }
        }
        return fresh;
    }
}

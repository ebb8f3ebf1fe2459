import java.util.concurrent.Callable;

/** What the service asks of a breaker, whichever library it is of. */
interface Guard {
    /** Thrown if, and only if, the breaker refused and the call was never begun. */
    final class Rejected extends Exception {
        private static final long serialVersionUID = 1L;

        Rejected(Throwable cause) {
            super(cause);
        }
    }

    /** Runs the call; whatever it throws comes out as some exception. */
    void run(Callable<Void> call) throws Exception;

    /** closed, open or half_open; reading it changes nothing. */
    String state();
}

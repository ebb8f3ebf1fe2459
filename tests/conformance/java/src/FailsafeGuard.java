import dev.failsafe.CircuitBreaker;
import dev.failsafe.CircuitBreakerOpenException;
import dev.failsafe.Failsafe;
import dev.failsafe.FailsafeExecutor;
import java.util.Locale;
import java.util.concurrent.Callable;

/** Failsafe: it permits as many calls in half-open as successes close it. */
final class FailsafeGuard implements Guard {
    private final CircuitBreaker<Void> breaker;
    private final FailsafeExecutor<Void> executor;

    FailsafeGuard(Settings settings, Transitions transitions) {
        if (settings.permitted() != settings.successes()) {
            throw new IllegalArgumentException(
                    "Failsafe permits as many calls as it needs successes; PERMITTED and SUCCESSES must be equal");
        }
        breaker = CircuitBreaker.<Void>builder()
                .withFailureThreshold(settings.failures())
                .withSuccessThreshold(settings.successes())
                .withDelay(settings.hold())
                .onOpen(event -> transitions.record(name(event.getPreviousState()), "open"))
                .onHalfOpen(event -> transitions.record(name(event.getPreviousState()), "half_open"))
                .onClose(event -> transitions.record(name(event.getPreviousState()), "closed"))
                .build();
        executor = Failsafe.with(breaker);
    }

    @Override
    public void run(Callable<Void> call) throws Exception {
        try {
            executor.get(call::call);
        } catch (CircuitBreakerOpenException refusal) {
            throw new Rejected(refusal);
        }
    }

    @Override
    public String state() {
        return name(breaker.getState());
    }

    private static String name(CircuitBreaker.State state) {
        return state.name().toLowerCase(Locale.ROOT);
    }
}

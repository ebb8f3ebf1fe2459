import io.github.resilience4j.circuitbreaker.CallNotPermittedException;
import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig;
import java.util.Locale;
import java.util.concurrent.Callable;

/** Resilience4j has no streaks: so many failures among the last so many calls and two more open it. */
final class Resilience4jGuard implements Guard {
    private final CircuitBreaker breaker;

    Resilience4jGuard(Settings settings, Transitions transitions) {
        if (settings.successes() != 1) {
            throw new IllegalArgumentException("Resilience4j closes by ratio after the permitted calls; SUCCESSES must be 1");
        }
        int window = settings.failures() + 2;
        breaker = CircuitBreaker.of(settings.breaker(), CircuitBreakerConfig.custom()
                .slidingWindowType(CircuitBreakerConfig.SlidingWindowType.COUNT_BASED)
                .slidingWindowSize(window)
                .minimumNumberOfCalls(window)
                .failureRateThreshold(settings.failures() * 100.0f / window)
                .waitDurationInOpenState(settings.hold())
                .permittedNumberOfCallsInHalfOpenState(settings.permitted())
                .build());
        breaker.getEventPublisher().onStateTransition(event -> transitions.record(
                name(event.getStateTransition().getFromState()), name(event.getStateTransition().getToState())));
    }

    @Override
    public void run(Callable<Void> call) throws Exception {
        try {
            breaker.executeCallable(call);
        } catch (CallNotPermittedException refusal) {
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

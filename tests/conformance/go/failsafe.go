package main

import (
	"errors"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

var failsafeStates = map[circuitbreaker.State]string{
	circuitbreaker.ClosedState: "closed", circuitbreaker.OpenState: "open", circuitbreaker.HalfOpenState: "half_open",
}

type failsafeBreaker struct {
	breaker  circuitbreaker.CircuitBreaker[any]
	executor failsafe.Executor[any]
}

// newFailsafe opens after so many failures in a row. The library permits as many calls in half-open as successes close it.
func newFailsafe(settings Settings, log *Log) (Breaker, error) {
	if settings.Permitted != settings.Successes {
		return nil, errors.New("failsafe-go permits as many calls as it needs successes; PERMITTED and SUCCESSES must be equal")
	}
	breaker := circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(settings.Failures).
		WithSuccessThreshold(settings.Successes).
		WithDelay(settings.Wait).
		OnStateChanged(func(event circuitbreaker.StateChangedEvent) {
			log.Record(failsafeStates[event.OldState], failsafeStates[event.NewState])
		}).
		Build()
	return &failsafeBreaker{breaker: breaker, executor: failsafe.With[any](breaker)}, nil
}

func (b *failsafeBreaker) Guard(call func() error) error {
	err := b.executor.Run(call)
	if errors.Is(err, circuitbreaker.ErrOpen) {
		return errRejected
	}
	return err
}

func (b *failsafeBreaker) State() string { return failsafeStates[b.breaker.State()] }

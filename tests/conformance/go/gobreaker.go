package main

import (
	"context"
	"errors"

	"github.com/sony/gobreaker/v2"
)

var gobreakerStates = map[gobreaker.State]string{
	gobreaker.StateClosed: "closed", gobreaker.StateOpen: "open", gobreaker.StateHalfOpen: "half_open",
}

type gobreakerBreaker struct {
	breaker *gobreaker.CircuitBreaker[struct{}]
	log     *Log
}

// newGobreaker opens after so many failures in a row. The library closes after as many successes as it permits calls.
func newGobreaker(settings Settings, log *Log) (Breaker, error) {
	if settings.Permitted != settings.Successes {
		return nil, errors.New("gobreaker closes after as many successes as it permits calls; PERMITTED and SUCCESSES must be equal")
	}
	return &gobreakerBreaker{log: log, breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        settings.Breaker,
		MaxRequests: uint32(settings.Permitted),
		Timeout:     settings.Wait,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			return counts.ConsecutiveFailures >= uint32(settings.Failures)
		},
		// A caller that went away says nothing about the dependency.
		IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) },
		// Called with the breaker's lock held: the instants are true, and in order.
		OnStateChange: func(_ string, from, to gobreaker.State) {
			log.Record(gobreakerStates[from], gobreakerStates[to])
		},
	})}, nil
}

func (b *gobreakerBreaker) Guard(call func() error) error {
	_, err := b.breaker.Execute(func() (struct{}, error) { return struct{}{}, call() })
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return errRejected
	}
	return err
}

// State is what was last reported: the library's own State() turns an open breaker half-open once the wait is over.
func (b *gobreakerBreaker) State() string { return b.log.State() }

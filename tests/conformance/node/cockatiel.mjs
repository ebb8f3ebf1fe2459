// cockatiel: `failures` in a row break the circuit, the first call after the wait is its only test. Calls that come while the
// test runs are not refused: they wait for it and are then dealt with anew.

import {
  BrokenCircuitError, CircuitState, ConsecutiveBreaker, circuitBreaker, handleAll
} from 'cockatiel'

const STATES = {
  [CircuitState.Closed]: 'closed', [CircuitState.Open]: 'open', [CircuitState.HalfOpen]: 'half_open'
}

export function make ({ failures, waitMs, permitted, successes }, emit) {
  if (permitted !== 1 || successes !== 1) throw new Error('cockatiel tests with one call; PERMITTED and SUCCESSES must be 1')
  const policy = circuitBreaker(handleAll, { halfOpenAfter: waitMs, breaker: new ConsecutiveBreaker(failures) })
  let last = 'closed'
  policy.onStateChange(state => {
    emit(last, STATES[state])
    last = STATES[state]
  })
  return {
    // Reading it starts nothing; an open circuit stays "open" until a call comes.
    state: () => STATES[policy.state],
    async guard (call) {
      let begun = false
      try {
        await policy.execute(() => { begun = true; return call() })
        return 'ok'
      } catch (error) {
        return !begun && error instanceof BrokenCircuitError ? 'rejected' : 'failed'
      }
    }
  }
}

// opossum: a share of failures within a rolling window opens it, a timer makes it half-open, one call is let in then.
//
// It has no streaks: more than half of the calls within the last second, and the volume threshold stands for `failures`. Its own
// time-out would leave the request running; the call has one.

import CircuitBreaker from 'opossum'

const WINDOW_MS = 1000
const WINDOW_BUCKETS = 10
const THRESHOLD_PERCENT = 50

export function make ({ failures, waitMs, permitted, successes }, emit) {
  if (permitted !== 1 || successes !== 1) throw new Error('opossum probes with one call; PERMITTED and SUCCESSES must be 1')
  const breaker = new CircuitBreaker(call => call(), {
    timeout: false,
    resetTimeout: waitMs,
    volumeThreshold: failures,
    errorThresholdPercentage: THRESHOLD_PERCENT,
    rollingCountTimeout: WINDOW_MS,
    rollingCountBuckets: WINDOW_BUCKETS,
    enableSnapshots: false
  })
  let last = 'closed'
  const changed = to => () => {
    emit(last, to)
    last = to
  }
  breaker.on('open', changed('open'))
  breaker.on('halfOpen', changed('half_open'))
  breaker.on('close', changed('closed'))
  return {
    state: () => breaker.opened ? 'open' : breaker.halfOpen ? 'half_open' : 'closed',
    async guard (call) {
      try {
        await breaker.fire(call)
        return 'ok'
      } catch (error) {
        return error.code === 'EOPENBREAKER' ? 'rejected' : 'failed'
      }
    }
  }
}

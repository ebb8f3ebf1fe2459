// USERS users ask URL without a pause: for SECONDS seconds, or once each.
import http from 'k6/http';

const users = Number(__ENV.USERS);
export const options = {
  discardResponseBodies: true,
  summaryTrendStats: ['max'],
  scenarios: {
    all: __ENV.SECONDS
      ? { executor: 'constant-vus', vus: users, duration: `${__ENV.SECONDS}s`, gracefulStop: '5s' }
      : { executor: 'per-vu-iterations', vus: users, iterations: 1 },
  },
};

export default function () {
  http.get(__ENV.URL);
}

export function handleSummary(data) {
  return { stdout: JSON.stringify(data) };
}

// A closed loop: USERS users ask URL for SECONDS seconds, each with a pause of PAUSE seconds after its answer.
// Every answer is a sample of `took`, tagged with when it was asked for (ms since 1970).
import http from 'k6/http';
import { sleep } from 'k6';
import { Trend } from 'k6/metrics';

const took = new Trend('took', true);
export const options = {
  discardResponseBodies: true,
  scenarios: {
    all: {
      executor: 'constant-vus',
      vus: Number(__ENV.USERS),
      duration: `${__ENV.SECONDS}s`,
      gracefulStop: '60s',
    },
  },
};

export default function () {
  const began = Date.now();
  const answer = http.get(__ENV.URL, { timeout: '60s' });
  if (answer.status === 200) took.add(answer.timings.duration, { began: String(began) });
  sleep(Number(__ENV.PAUSE));
}

export function handleSummary(data) {
  return { stdout: JSON.stringify(data) };
}

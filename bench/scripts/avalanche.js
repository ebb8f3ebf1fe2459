// USERS sockets from VUS virtual users at once: each opens with TOKEN, sends a text and waits for its echo; all stay until the end.
import { WebSocket } from 'k6/experimental/websockets';
import { Counter, Trend } from 'k6/metrics';

const began = new Trend('began');
const done = new Trend('done');
const good = new Counter('good');
const each = Number(__ENV.USERS) / Number(__ENV.VUS);

export const options = {
  summaryTrendStats: ['min', 'max'],
  scenarios: { all: { executor: 'per-vu-iterations', vus: Number(__ENV.VUS), iterations: 1, maxDuration: '60s' } },
};

export default function () {
  const open = [];
  began.add(Date.now());
  for (let i = 0; i < each; i++) {
    const text = `hello ${__VU} ${i}`;
    const headers = { Authorization: `Bearer ${__ENV.TOKEN}`, 'X-Request-Id': `${__VU}-${i}` };
    const socket = new WebSocket(__ENV.URL, null, { headers });
    socket.onopen = () => socket.send(text);
    socket.onmessage = (message) => {
      if (message.data !== text) return;
      good.add(1);
      done.add(Date.now());
      open.push(socket);
      if (open.length === each) setTimeout(() => open.forEach((one) => one.close()), 1000);
    };
  }
}

export function handleSummary(data) {
  return { stdout: JSON.stringify(data) };
}

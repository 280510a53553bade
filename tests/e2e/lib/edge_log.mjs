// Reads the edge's log: the only place that knows how its lines look.
import { readFileSync } from 'node:fs';

const COLOURS = /\x1b\[[0-9;]*m/g;
const FIELD = /([a-z_.]+)=("(?:[^"\\]|\\.)*"|\S+)/g;
const EVENTS = ['registered', 'connected', 'migrated', 'ended'];

// All lines about sessions, oldest first: { event, session, route, reason, …, line }; `registered` also says which handle
// of Janus it is about.
export function sessionEvents(file) {
  return lines(file).flatMap((line) => {
    const fields = Object.fromEntries([...line.matchAll(FIELD)].map(([, key, value]) => [key, value.replace(/^"|"$/g, '')]));
    const event = EVENTS.find((word) => new RegExp(`\\b${word}\\b`).test(line));
    const handle = line.match(/janus session (\d+) handle (\d+)/)?.slice(1).map(Number);
    return fields.session && event ? [{ ...fields, event, handle, line }] : [];
  });
}

export function lines(file) {
  try {
    return readFileSync(file, 'utf8').replace(COLOURS, '').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

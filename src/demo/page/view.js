// What the page shows. It decides nothing about the call.

const SAMPLES = 60;
const plots = new Map();

export const $ = (id) => document.getElementById(id);

export function state(name, headline, subline) {
  document.documentElement.dataset.state = name;
  $('headline').textContent = headline;
  if (subline !== undefined) $('subline').textContent = subline;
}

export function note(text) {
  $('note').textContent = text;
}

// A figure and its last half minute. `digits` behind the point.
export function figure(id, value, digits = 0) {
  const known = Number.isFinite(value);
  $(id).textContent = known ? value.toFixed(digits) : '–';
  const samples = plots.get(id) ?? [];
  samples.push(known ? value : 0);
  plots.set(id, samples.slice(-SAMPLES));
  plot($(`${id}-plot`), plots.get(id));
}

export function clearFigures() {
  for (const id of plots.keys()) {
    plots.set(id, []);
    $(id).textContent = '–';
    $(`${id}-plot`).replaceChildren();
  }
}

// The way as the browser's statistics tell it.
export function way(pair) {
  $('local').textContent = pair?.local ?? '…';
  $('remote').textContent = pair?.remote ?? '…';
  $('transport').textContent = pair?.transport ?? 'ICE';
}

// Steps in order, each { name, at } in milliseconds since the start, or without `at` while it is awaited.
export function steps(all) {
  const end = Math.max(1, ...all.map((step) => step.at ?? 0));
  let before = 0;
  $('steps').replaceChildren(...all.map(({ name, at }) => {
    const item = document.createElement('li');
    item.className = at === undefined ? 'waiting' : 'done';
    const [label, time, track] = ['b', 'i', 'div'].map((tag) => document.createElement(tag));
    label.textContent = name;
    time.textContent = at === undefined ? '…' : `${Math.round(at)} ms`;
    track.className = 'track';
    if (at !== undefined) {
      const bar = document.createElement('span');
      bar.style.left = `${(100 * Math.min(before, at)) / end}%`;
      bar.style.width = `${(100 * Math.max(0, at - before)) / end}%`;
      track.append(bar);
      before = Math.max(before, at);
    }
    item.append(label, time, track);
    return item;
  }));
}

function plot(svg, samples) {
  const [width, height] = [SAMPLES - 1, 34];
  const top = Math.max(...samples, 1e-9) * 1.15;
  const offset = SAMPLES - samples.length;
  const points = samples.map((value, index) => `${index + offset},${(height - 1 - (value / top) * (height - 3)).toFixed(1)}`);
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  const [area, line] = ['polygon', 'polyline'].map((tag) => document.createElementNS(svg.namespaceURI, tag));
  area.setAttribute('points', `${offset},${height} ${points.join(' ')} ${width},${height}`);
  line.setAttribute('points', points.join(' '));
  svg.replaceChildren(area, line);
}

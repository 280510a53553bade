// The table of results, line by line while they come in.
const COLOUR = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code, text) => (COLOUR ? `\x1b[${code}m${text}\x1b[0m` : text);
const WIDTHS = { group: 20, name: 46, connectedMs: 9, frames: 7, seconds: 7 };

export class Report {
  passed = 0;
  failed = 0;

  head() {
    console.log(paint(1, `${'janus'.padEnd(WIDTHS.group)} ${'case'.padEnd(WIDTHS.name)} ${'connected'.padStart(WIDTHS.connectedMs)} ${'frames'.padStart(WIDTHS.frames)} ${'time'.padStart(WIDTHS.seconds)}  verdict`));
  }

  row({ group, name, connectedMs, frames, seconds, note, error }) {
    if (error) this.failed += 1; else this.passed += 1;
    const cells = [
      group.padEnd(WIDTHS.group),
      name.padEnd(WIDTHS.name),
      (connectedMs === undefined ? '-' : `${connectedMs} ms`).padStart(WIDTHS.connectedMs),
      String(frames ?? '-').padStart(WIDTHS.frames),
      `${seconds.toFixed(1)} s`.padStart(WIDTHS.seconds),
    ];
    console.log(`${cells.join(' ')}  ${error ? paint('31;1', 'FAILED') : paint(32, 'ok')}${note ? paint(2, ` (${note})`) : ''}`);
    if (error) console.log(paint(31, `    ${String(error.message ?? error).split('\n').join('\n    ')}`));
  }

  summary() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
  }
}

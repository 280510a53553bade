// What is sent: a picture that is drawn here, or the camera drawn into it, and a soft tone or the microphone. The bottom edge of the
// picture says in black and white when it was drawn, so that the one that comes back tells how long it was under way.

const [WIDTH, HEIGHT, FPS] = [640, 360, 30];
const STRIP = HEIGHT / 20;
// White and black to compare with, 16 bits of milliseconds, 4 of a checksum, black and white.
const CELLS = 24;
const COLOURS = ['#2457d6', '#0b8457', '#c2571a', '#8a3ffc'];

export class Source {
  #canvas = Object.assign(document.createElement('canvas'), { width: WIDTH, height: HEIGHT });
  #context = this.#canvas.getContext('2d', { alpha: false });
  #camera = null;

  constructor() {
    this.#draw();
    setInterval(() => this.#draw(), 1000 / FPS);
    const [video] = this.#canvas.captureStream(FPS).getVideoTracks();
    this.stream = new MediaStream([video]);
    this.#startTone();
  }

  // Throws where there is no camera, or no permission.
  async useCamera() {
    if (!navigator.mediaDevices) throw new Error('a browser gives its camera only to pages over HTTPS or on localhost');
    const wanted = { width: { ideal: WIDTH }, height: { ideal: HEIGHT } };
    const captured = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: true })
      .catch(() => navigator.mediaDevices.getUserMedia({ video: wanted }));
    const video = Object.assign(document.createElement('video'), { muted: true, playsInline: true, srcObject: captured });
    await video.play();
    this.#camera = { video, captured, microphone: this.#listen(captured) };
  }

  useDrawing() {
    this.#camera?.captured.getTracks().forEach((track) => track.stop());
    this.#camera?.microphone?.disconnect();
    this.#camera = null;
    if (this.audio) this.tone.gain.value = 1;
  }

  // Browsers start sound only after somebody has touched the page.
  wake() {
    return this.audio?.resume();
  }

  get silent() {
    return this.audio?.state !== 'running';
  }

  #startTone() {
    try {
      this.audio = new AudioContext();
    } catch {
      return;
    }
    this.tone = this.audio.createGain();
    const [low, high] = [220, 330].map((frequency) => tone(this.audio, frequency));
    const swell = this.audio.createGain();
    swell.gain.value = 0.06;
    const wave = tone(this.audio, 0.5);
    const depth = this.audio.createGain();
    depth.gain.value = 0.05;
    wave.connect(depth).connect(swell.gain);
    for (const each of [low, high]) each.connect(swell);
    this.out = this.audio.createMediaStreamDestination();
    swell.connect(this.tone).connect(this.out);
    this.stream.addTrack(this.out.stream.getAudioTracks()[0]);
  }

  #listen(captured) {
    if (!this.audio || captured.getAudioTracks().length === 0) return null;
    const microphone = this.audio.createMediaStreamSource(new MediaStream(captured.getAudioTracks()));
    microphone.connect(this.out);
    this.tone.gain.value = 0;
    return microphone;
  }

  #draw() {
    const now = performance.now();
    if (this.#camera) this.#drawCamera(this.#camera.video);
    else this.#drawPicture(now / 1000);
    this.#drawTime(now);
  }

  #drawCamera(video) {
    const [width, height] = [video.videoWidth || WIDTH, video.videoHeight || HEIGHT];
    const scale = Math.max(WIDTH / width, HEIGHT / height);
    this.#context.drawImage(video, (WIDTH - width * scale) / 2, (HEIGHT - height * scale) / 2, width * scale, height * scale);
  }

  #drawPicture(seconds) {
    const context = this.#context;
    const sky = context.createLinearGradient(0, 0, WIDTH, HEIGHT);
    sky.addColorStop(0, '#0d1730');
    sky.addColorStop(1, '#1c3a6e');
    context.fillStyle = sky;
    context.fillRect(0, 0, WIDTH, HEIGHT);
    COLOURS.forEach((colour, index) => {
      const angle = seconds * (0.7 + index * 0.13) + (index * Math.PI) / 2;
      const [x, y] = [WIDTH / 2 + Math.cos(angle) * 190, HEIGHT / 2 - 10 + Math.sin(angle * 1.3) * 95];
      context.globalAlpha = 0.85;
      context.fillStyle = colour;
      context.beginPath();
      context.arc(x, y, 40 + 8 * Math.sin(seconds * 2 + index), 0, 2 * Math.PI);
      context.fill();
    });
    context.globalAlpha = 1;
    context.fillStyle = '#fff';
    context.textAlign = 'center';
    context.font = '600 58px ui-monospace, Menlo, Consolas, monospace';
    const now = new Date();
    const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
    context.fillText(`${time}.${Math.floor(now.getMilliseconds() / 100)}`, WIDTH / 2, HEIGHT / 2 + 10);
  }

  #drawTime(now) {
    const cell = WIDTH / CELLS;
    cells(Math.round(now) & 0xffff).forEach((white, index) => {
      this.#context.fillStyle = white ? '#fff' : '#000';
      this.#context.fillRect(index * cell, HEIGHT - STRIP, cell + 1, STRIP);
    });
  }
}

// How old the picture is that `video` shows, in milliseconds; undefined where that cannot be read.
export function ageOf(video, scratch) {
  const [width, height] = [video.videoWidth, video.videoHeight];
  if (!width) return undefined;
  scratch.drawImage(video, 0, height * (1 - STRIP / HEIGHT), width, height * (STRIP / HEIGHT), 0, 0, CELLS * 10, 10);
  const { data } = scratch.getImageData(0, 5, CELLS * 10, 1);
  const light = Array.from({ length: CELLS }, (_, index) => data[(index * 10 + 5) * 4 + 1]);
  if (light[0] - light[1] < 60) return undefined;
  const middle = (light[0] + light[1]) / 2;
  const read = light.map((each) => (each > middle ? 1 : 0));
  const value = read.slice(2, 18).reduce((sum, bit) => sum * 2 + bit, 0);
  if (cells(value).some((bit, index) => bit !== read[index])) return undefined;
  const age = (Math.round(performance.now()) - value) & 0xffff;
  return age < 10000 ? age : undefined;
}

export function scratchpad() {
  const canvas = Object.assign(document.createElement('canvas'), { width: CELLS * 10, height: 10 });
  return canvas.getContext('2d', { willReadFrequently: true });
}

function cells(value) {
  const bits = (number, count) => Array.from({ length: count }, (_, index) => (number >> (count - 1 - index)) & 1);
  const sum = (value ^ (value >> 4) ^ (value >> 8) ^ (value >> 12)) & 15;
  return [1, 0, ...bits(value, 16), ...bits(sum, 4), 0, 1];
}

function tone(audio, frequency) {
  const oscillator = audio.createOscillator();
  oscillator.frequency.value = frequency;
  oscillator.start();
  return oscillator;
}

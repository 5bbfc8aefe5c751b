// The last hour as the service has sampled it, and the service's own time.

const HOUR_MS = 3600_000;
const LEAST_MS = 300_000;

export class Hour {
  points = [];
  stepMs = 10_000;
  #aheadMs = 0; // of the service's clock

  /** The answer of GET /v1/stats. */
  load({ now, step_s: stepS, points }) {
    this.#aheadMs = Date.parse(now) - Date.now();
    this.stepMs = stepS * 1000;
    this.points = points.map(timed);
  }

  /** The newest point; whether it is new. */
  add(point) {
    if (!point || Date.parse(point.at) <= (this.points.at(-1)?.t ?? 0)) return false;
    this.points.push(timed(point));
    this.points = this.points.filter(({ t }) => t >= this.now - HOUR_MS);
    return true;
  }

  get now() {
    return Date.now() + this.#aheadMs;
  }

  /** An hour ago; where all is newer than that, its beginning. */
  get begin() {
    const { now } = this;
    const first = this.points[0]?.t ?? now;
    return Math.max(now - HOUR_MS, Math.min(first, now - LEAST_MS));
  }

  /** Seconds since. */
  since(at) {
    return Math.max(0, (this.now - Date.parse(at)) / 1000);
  }

  /** Runs of points that `has` something, without a gap: elsewhere there is nothing to draw. */
  runs(has) {
    const runs = [];
    for (const point of this.points.filter(has)) {
      const last = runs.at(-1)?.at(-1);
      // one per step, but anywhere in it
      if (last && point.t - last.t < 2 * this.stepMs) runs.at(-1).push(point);
      else runs.push([point]);
    }
    return runs;
  }

  /** The point that stands for a moment, or null. */
  at(t) {
    const near = (point) => Math.abs(point.t - t);
    const nearest = this.points.reduce((a, b) => (a && near(a) <= near(b) ? a : b), null);
    return nearest && near(nearest) <= this.stepMs ? nearest : null;
  }
}

const timed = (point) => ({ ...point, t: Date.parse(point.at) });

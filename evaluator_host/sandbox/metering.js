// What slices cost: wall clock and CPU time of this process, bytes in and out.

/** A stopwatch of both clocks. The CPU clock costs about 2 us, so it is read once a flush, not once a slice. */
const meter = {
  wallStart: 0,
  cpuStart: 0,

  restart() {
    this.wallStart = monotonicNow();
    this.cpuStart = cpuTime();
  },

  /** What has passed since the last call or restart, in milliseconds: {wall, cpu}. */
  lap() {
    const wallNow = monotonicNow();
    const cpuNow = cpuTime();
    const lap = { wall: wallNow - this.wallStart, cpu: cpuNow - this.cpuStart };
    this.wallStart = wallNow;
    this.cpuStart = cpuNow;
    return lap;
  },
};

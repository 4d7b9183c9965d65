// What slices cost: wall clock and CPU time of this process, bytes in and out.

/** A stopwatch of both clocks. The CPU clock costs about 2 us, so it is read once a flush, not once a slice. */
const meter = {
  wallStart: 0,
  cpuStart: 0,

  restart() {
    this.wallStart = monotonicNow();
    this.cpuStart = cpuTime();
  },

  /** What has passed from the last lap to the moment `until`, in milliseconds: {wall, cpu}. CPU time is shared out by
   * wall clock when that moment has passed; the rest belongs to the next lap. */
  lap(until = Infinity) {
    const wallNow = monotonicNow();
    const passed = wallNow - this.wallStart;
    const wall = until < wallNow ? (until > this.wallStart ? until - this.wallStart : 0) : passed;
    const cpu = (cpuTime() - this.cpuStart) * (passed > 0 ? wall / passed : 1);
    this.wallStart += wall;
    this.cpuStart += cpu;
    return { wall, cpu };
  },
};

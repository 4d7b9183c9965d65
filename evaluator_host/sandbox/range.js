// Inputs of range jobs, computed from the range object and the slice's place in it. Semantics as dcp-client 5.6.1:
// {start,end,step,group}; {ranges:[...]} is their product, the last fastest; {sparse:true,ranges:[...]} one after the other.

/** A function that gives the n-th element (from 0). Throws an Error for a range object that makes no sense. */
function elementsOf(range) {
  return rangeOf(range).nth;
}

function rangeOf(range) {
  if (typeof range !== "object" || range === null) throw new NativeError("the range of the job is no object");
  if (range.ranges !== undefined) {
    if (!isArray(range.ranges) || range.ranges.length === 0) throw new NativeError("a range without ranges");
    return range.sparse ? oneAfterTheOther(range.ranges) : product(range.ranges);
  }
  if (range.dist !== undefined) {
    throw new NativeError(`distribution ranges (${range.dist}) are not available in this sandbox`);
  }
  return simpleRange(range);
}

function simpleRange({ start, end, step, group }) {
  if (!isFiniteNumber(start) || !isFiniteNumber(end)) throw new NativeError("start and end of a range must be numbers");
  const by = step ?? sign(end - start);
  if (!isFiniteNumber(by) || (start !== end && sign(by) !== sign(end - start))) {
    throw new NativeError("the step of a range must lead from its start to its end");
  }
  const steps = by === 0 ? 1 : floor(abs((end - start) / by)) + 1;
  if (group === undefined || group === null) return { length: steps, nth: (n) => start + n * by };
  if (!isInteger(group) || group < 1) throw new NativeError("the group of a range must be a whole number above zero");
  return {
    length: ceil(steps / group),
    nth(n) {
      const elements = [];
      const base = group * by * n + start;
      for (let i = 0; i < group && i + group * n < steps; i++) define(elements, i, base + i * by);
      return elements;
    },
  };
}

function product(ranges) {
  const parts = parsed(ranges);
  let length = 1;
  for (let i = 0; i < ranges.length; i++) length *= parts[i].length;
  return {
    length,
    nth(n) {
      const elements = [];
      for (let i = ranges.length - 1; i >= 0; i--) {
        const place = n % parts[i].length;
        n = (n - place) / parts[i].length;
        define(elements, i, parts[i].nth(place));
      }
      return elements;
    },
  };
}

function oneAfterTheOther(ranges) {
  const parts = parsed(ranges);
  let length = 0;
  for (let i = 0; i < ranges.length; i++) length += parts[i].length;
  return {
    length,
    nth(n) {
      let i = 0;
      while (n >= parts[i].length) n -= parts[i++].length;
      return parts[i].nth(n);
    },
  };
}

function parsed(ranges) {
  const parts = create(null);
  for (let i = 0; i < ranges.length; i++) {
    const list = isArray(ranges[i]) ? ranges[i] : undefined;
    parts[i] = list ? { length: list.length, nth: (n) => list[n] } : rangeOf(ranges[i]);
  }
  return parts;
}

// Which rows of a long list are drawn, whether the page is narrow, and how wide a picture is.

import { useEffect, useLayoutEffect, useRef, useState } from './html.js';

const BESIDE = 16;
const STEP = 8;

/**
 * The rows of a list that the window shows, with some on both sides: [from, to, height in px]. `body`
 * is the element that holds the rows, each `rem` high.
 */
export function useWindow(body, count, rem) {
  const [rows, setRows] = useState([0, 60, 36]);
  useLayoutEffect(() => {
    const look = () => {
      if (!body.current) return;
      const height = rem * parseFloat(getComputedStyle(document.documentElement).fontSize);
      const top = -body.current.getBoundingClientRect().top;
      const from = Math.max(0, Math.floor(top / height / STEP) * STEP - BESIDE);
      const to = Math.ceil((top + window.innerHeight) / height / STEP) * STEP + BESIDE;
      setRows((before) => (before[0] === from && before[1] === to && before[2] === height ? before : [from, to, height]));
    };
    look();
    window.addEventListener('scroll', look, { passive: true });
    window.addEventListener('resize', look);
    return () => {
      window.removeEventListener('scroll', look);
      window.removeEventListener('resize', look);
    };
  }, [rem, count]);
  return rows;
}

/** Whether the window is as narrow as a telephone. */
export function useNarrow() {
  const [narrow, setNarrow] = useState(() => window.matchMedia('(max-width: 720px)').matches);
  useEffect(() => {
    const media = window.matchMedia('(max-width: 720px)');
    const changed = () => setNarrow(media.matches);
    media.addEventListener('change', changed);
    changed();
    return () => media.removeEventListener('change', changed);
  }, []);
  return narrow;
}

// Paper is never measured, and cuts off what is wider.
const PAPER = 640;

/** `[ref, width]`: the pixels across of an element, and no more than paper has while it is printed. */
export function useWidth() {
  const box = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(box.current?.clientWidth ?? 0);
    const print = () => setWidth((now) => Math.min(now, PAPER));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    window.addEventListener('beforeprint', print);
    window.addEventListener('afterprint', measure);
    return () => {
      observer.disconnect();
      window.removeEventListener('beforeprint', print);
      window.removeEventListener('afterprint', measure);
    };
  }, []);
  return [box, width];
}

() => {
  const SLACK = 2; // pixels: line boxes are taller than their letters
  const cut = [], boxes = [];
  const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  const clip = (element, position) => { // what is seen of an element's content, and who cuts it off for good
    let seen = { left: -1e9, top: -1e9, right: 1e9, bottom: 1e9 }, hider = { ...seen };
    const lessen = (box, by, x, y) => ({
      left: x ? Math.max(box.left, by.left) : box.left, right: x ? Math.min(box.right, by.right) : box.right,
      top: y ? Math.max(box.top, by.top) : box.top, bottom: y ? Math.min(box.bottom, by.bottom) : box.bottom });
    for (let at = element; at && at !== document.documentElement; at = at.parentElement) {
      const style = getComputedStyle(at), by = at.getBoundingClientRect();
      const hides = (value) => value === "hidden" || value === "clip";
      const [x, y] = [style.overflowX, style.overflowY];
      seen = lessen(seen, by, x !== "visible", y !== "visible");
      hider = lessen(hider, by, hides(x), hides(y));
      if (style.position === "fixed") break;
    }
    if (document.documentElement === element.ownerSVGElement) hider = lessen(hider, document.documentElement.getBoundingClientRect(), true, true);
    return [seen, hider];
  };
  // Corners of a text on the screen, and the angle in which it is written.
  const cornersOf = (element, rect) => {
    const straight = [[rect.left, rect.top], [rect.right, rect.top], [rect.left, rect.bottom], [rect.right, rect.bottom]];
    if (!element.ownerSVGElement || !element.getScreenCTM) return [straight, 0];
    const matrix = element.getScreenCTM(), box = element.getBBox();
    if (Math.abs(matrix.b) < 1e-6) return [straight, 0];
    const corner = (x, y) => { const at = new DOMPoint(x, y).matrixTransform(matrix); return [at.x, at.y]; };
    const [right, bottom] = [box.x + box.width, box.y + box.height];
    return [[corner(box.x, box.y), corner(right, box.y), corner(box.x, bottom), corner(right, bottom)], Math.atan2(matrix.b, matrix.a)];
  };
  // Two texts meet if they do as seen along each of the ways in which they are written.
  const meet = (a, b) => [0, a.angle, b.angle].every((angle) => [angle, angle + Math.PI / 2].every((way) => {
    const along = ([x, y]) => x * Math.cos(way) + y * Math.sin(way);
    const [p, q] = [a.corners.map(along), b.corners.map(along)];
    return Math.min(Math.max(...p), Math.max(...q)) - Math.max(Math.min(...p), Math.min(...q)) > SLACK;
  }));
  const modal = document.querySelector("dialog[open]");
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.textContent.trim(), element = node.parentElement;
    if (!text || element.closest("script, style, option, title, desc, textarea, noscript, .skip:not(:focus)")) continue;
    if (modal && !modal.contains(element)) continue;
    if (!element.checkVisibility({ contentVisibilityAuto: true, opacityProperty: true, visibilityProperty: true })) continue;
    const [seen, hider] = clip(element);
    if (hider.right - hider.left < 2 || hider.bottom - hider.top < 2) continue; // for screen readers alone
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of element.ownerSVGElement ? [element.getBoundingClientRect()] : range.getClientRects()) {
      if (rect.width < 1 || rect.height < 1) continue;
      if (rect.left < hider.left - SLACK || rect.right > hider.right + SLACK || rect.top < hider.top - SLACK || rect.bottom > hider.bottom + SLACK) {
        cut.push(`cut: ${text.slice(0, 80)}`);
        continue;
      }
      const box = { left: Math.max(rect.left, seen.left), right: Math.min(rect.right, seen.right), top: Math.max(rect.top, seen.top), bottom: Math.min(rect.bottom, seen.bottom), text, element };
      [box.corners, box.angle] = cornersOf(element, box);
      if (box.right - box.left > SLACK && box.bottom - box.top > SLACK) boxes.push(box);
    }
  }
  boxes.sort((a, b) => a.top - b.top);
  const overlaps = [];
  boxes.forEach((a, i) => {
    for (let j = i + 1; j < boxes.length && boxes[j].top < a.bottom - SLACK; j += 1) {
      const b = boxes[j];
      if (a.element !== b.element && meet(a, b)) overlaps.push(`overlap: ${a.text.slice(0, 60)} | ${b.text.slice(0, 60)}`);
    }
  });
  const sideways = document.documentElement.scrollWidth > innerWidth && !(document.documentElement instanceof SVGElement);
  return { texts: boxes.length + cut.length, problems: [...(sideways ? [`wider than the window: ${document.documentElement.scrollWidth} pixels`] : []), ...new Set([...cut, ...overlaps])] };
}

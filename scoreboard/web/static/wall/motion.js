/** Movement of elements, which people can switch off in their system. */

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const MOVE = { duration: 900, easing: "cubic-bezier(0.3, 0.9, 0.3, 1)" };
const APPEAR = { duration: 600, easing: "ease-out" };

/** @type {WeakMap<Element, Animation>} */
const running = new WeakMap();

/** @returns {boolean} whether elements may move now */
export function mayMove() {
  return !reducedMotion.matches && !document.hidden;
}

/**
 * @param {Element} element
 * @param {Keyframe[]} frames
 * @param {KeyframeAnimationOptions} options
 */
export function animate(element, frames, options) {
  if (mayMove()) {
    running.get(element)?.cancel();
    running.set(element, element.animate(frames, options));
  }
}

/**
 * @param {Iterable<Element>} elements
 * @returns {Map<Element, DOMRect>} where the elements are, during a movement too
 */
export function placesOf(elements) {
  return new Map([...elements].map((element) => [element, element.getBoundingClientRect()]));
}

/**
 * Move elements from where they were to where they are now; a new one appears.
 *
 * @param {Element[]} elements
 * @param {Map<Element, DOMRect>} before
 */
export function moveFrom(elements, before) {
  if (!mayMove()) {
    return;
  }
  elements.forEach((element) => running.get(element)?.cancel());
  const after = placesOf(elements);
  for (const [element, to] of after) {
    const from = before.get(element);
    if (!from) {
      animate(element, [{ opacity: 0 }, { opacity: 1 }], APPEAR);
    } else if (Math.abs(from.top - to.top) > 1 || Math.abs(from.left - to.left) > 1) {
      const zIndex = from.top > to.top ? 2 : 1; // a rising one is in front
      const transform = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
      animate(element, [{ transform, zIndex }, { transform: "none", zIndex }], MOVE);
    }
  }
}

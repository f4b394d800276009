"use strict";
// All people are in the page: the first of each list as elements, the others as text in noscript. One part is shown at a time.
for (const pager of document.querySelectorAll(".pager")) {
  const section = pager.parentElement;
  const first = section.querySelector("ol.page");
  const parts = [first.outerHTML, ...[...section.querySelectorAll("noscript")].map((part) => part.textContent)];
  const [previous, next] = pager.querySelectorAll("button");
  const status = pager.querySelector("[role=status]");
  let list = first;
  let shown = 0;
  const show = (number) => {
    if (number !== shown) {
      shown = number;
      list.insertAdjacentHTML("afterend", parts[shown]);
      const after = list.nextElementSibling;
      list.remove();
      list = after;
    }
    const total = Number(pager.dataset.total).toLocaleString("en");
    status.textContent = `${list.start} to ${list.start + list.childElementCount - 1} of ${total}`;
    previous.disabled = shown === 0;
    next.disabled = shown === parts.length - 1;
  };
  previous.addEventListener("click", () => show(shown - 1));
  next.addEventListener("click", () => show(shown + 1));
  pager.hidden = false;
  show(0);
}

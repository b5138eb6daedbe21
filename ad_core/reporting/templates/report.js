(() => {
  "use strict";
  const at = (name) => document.getElementById(name);
  const folded = () => document.querySelectorAll("details.paper:not([open])");
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...folded()];
    opened.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
  addEventListener("hashchange", unfold);
  unfold();

  function unfold() {
    const target = location.hash && at(location.hash.slice(1));
    for (let one = target; one; one = one.parentElement) {
      if (one.tagName === "DETAILS") one.open = true;
    }
    const inner = target && target.querySelector(":scope > div > details");
    if (inner) inner.open = true;
    if (target) target.scrollIntoView();
  }

  if (!at("price-data")) return;
  const data = JSON.parse(at("price-data").textContent);
  const slider = at("bound");
  const rows = document.querySelectorAll("#bounds tbody tr");
  const percent = (share) => `${Number((100 * share).toPrecision(3))}\u00a0%`;
  const kept = data.price.filter((offer) => offer.threshold !== null);

  function fill(name, counts, some, whole) {
    if (!at(name)) return;
    const known = counts && counts[whole] > 0;
    const share = known ? counts[some] / counts[whole] : 0;
    at(name).textContent = known
      ? `${counts[some]} of ${counts[whole]} (${percent(share)})` : "\u2013";
    at(`${name}-bar`).style.width = `${100 * share}%`;
  }

  function show() {
    const offer = kept[Number(slider.value)];
    const passing = Math.ceil(1000 * offer.bound - 1e-9);
    const words = `up to ${passing} of 1,000 defective parts may pass`;
    slider.setAttribute("aria-valuetext", words);
    at("bound-words").textContent =
      `Up to ${passing} of 1,000 defective parts may pass; inspected from ` +
      `${Number(offer.threshold.toPrecision(4))} on${offer.threshold === data.threshold ? ", as now" : ""}.`;
    fill("calibration-alarms", offer.calibration, "fp", "normal");
    fill("calibration-misses", offer.calibration, "fn", "abnormal");
    fill("test-alarms", offer.test, "fp", "normal");
    fill("test-misses", offer.test, "fn", "abnormal");
    at("command").textContent = data.command.replace("BOUND", String(offer.bound));
    const first = rows.length - kept.length;
    rows.forEach((row, place) => {
      row.classList.toggle("chosen", place === first + Number(slider.value));
    });
  }

  slider.max = String(kept.length - 1);
  slider.value = String(data.start);
  slider.addEventListener("input", show);
  at("try").hidden = false;
  at("bounds").open = false;
  show();
})();

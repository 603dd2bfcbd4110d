// Presses keys on the page of the failed run and says what went wrong.
// A browser without a screen, in virtual time, has no frames to wait for.
window.requestAnimationFrame = (draw) => setTimeout(draw, 0);
addEventListener("load", async () => {
  const root = document.documentElement;
  const drawn = () => new Promise((done) => setTimeout(done, 10));
  const press = async (key, options = {}) => {
    const target = document.activeElement ?? document.body;
    target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...options }));
    await drawn();
  };
  const check = (holds, what) => { if (!holds) throw new Error(what); };
  const view = () => document.getElementById("view").textContent;
  const focused = () => document.activeElement;
  const laneOf = (element) => element.closest(".lane").dataset.name;

  const whole = view();
  await press("f");
  check(focused().classList.contains("failure"), "f leads to the failure");
  check(view() !== whole, "f zooms in");
  const near = view();
  await press("+");
  check(view() !== near, "+ zooms in");
  await press("-");
  check(view() === near, `- zooms out again: ${view()} is not ${near}`);
  await press("ArrowLeft", { shiftKey: true });
  check(view() !== near, "Shift and left pans");
  await press("ArrowLeft", { shiftKey: true });
  await press("ArrowLeft", { shiftKey: true });
  check(focused().getAttribute("x") === "-101%", "the failure is out of sight");
  check(focused().classList.contains("failure"), "and keeps the focus");
  await press("0");
  check(view() === whole, "0 shows all");

  await press("ArrowUp");
  check(laneOf(focused()) === "alice", "up leads to the lane above");
  await press("ArrowDown");
  check(laneOf(focused()) === "bob", "down leads back");
  const first = focused();
  await press("ArrowLeft");
  check(focused() !== first && laneOf(focused()) === "bob", "left leads to the item before");
  check(focused().getAttribute("tabindex") === "0", "Tab comes back to it");
  check(document.getElementById("details").textContent === focused().getAttribute("aria-label"), "its details are shown");
  check(document.querySelectorAll(".same").length > 0, "what shows the same is marked");

  const box = document.getElementById("filter");
  box.value = "carol";
  box.dispatchEvent(new Event("input", { bubbles: true }));
  await drawn();
  const shown = [...document.querySelectorAll(".lane.host")].filter((lane) => !lane.hidden).map((lane) => lane.dataset.name);
  check(shown.join() === "carol", `the filter leaves ${shown}`);
  const reachable = document.querySelector("[data-key][tabindex='0']");
  check(!reachable.closest(".lane").hidden, "Tab leads to what is shown");
  await new Promise((done) => setTimeout(done, 400));
  check(location.hash === "#hosts=carol", `the link is ${location.hash}`);
  root.dataset.seen = "done";
});
addEventListener("unhandledrejection", (event) => { document.documentElement.dataset.error = event.reason.message; });

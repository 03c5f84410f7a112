// Runs in each browser that opens the page, after viser's own script.

// Follow the dark mode of the system, and halve the resolution where no GPU draws: both are part of the address.
const address = new URL(location);
const dark = matchMedia("(prefers-color-scheme: dark)");

function rendererName() {
  const gl = document.createElement("canvas").getContext("webgl2");
  const unmasked = gl?.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL;
  const name = gl?.getParameter(unmasked ?? gl.RENDERER);
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return name;
}

function adapt() {
  const wanted = new URL(address);
  if (dark.matches) wanted.searchParams.set("darkMode", "");
  else wanted.searchParams.delete("darkMode");
  if (!wanted.searchParams.has("fixedDpr") && /swiftshader|llvmpipe|software|basic render/i.test(rendererName())) {
    wanted.searchParams.set("fixedDpr", devicePixelRatio / 2);
  }
  if (wanted.searchParams.toString() !== address.searchParams.toString()) location.replace(wanted);
}

// Keys that drive a robot press the buttons of the panel; where nothing is driven, they move viser's camera as before.
const BUTTONS = { KeyW: "W", KeyA: "A", KeyS: "S", KeyD: "D", KeyQ: "Q", KeyE: "E", KeyX: "X" };

function drive(event) {
  const key = BUTTONS[event.code];
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (!key || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const button = [...document.querySelectorAll("button")].find(each => each.textContent.trim() === key);
  if (!button) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  if (!event.repeat && event.type === "keydown") button.click();
}

// A button or slider that was clicked would take the next key for itself.
function release() {
  const focused = document.activeElement;
  if (focused?.tagName === "BUTTON" || focused?.getAttribute("role") === "slider") focused.blur();
}

adapt();
if (!window.mapushListens) {
  window.mapushListens = true; // viser runs this again where it reconnects
  dark.addEventListener("change", adapt);
  window.addEventListener("keydown", drive, true);
  window.addEventListener("keyup", drive, true);
  window.addEventListener("pointerup", () => setTimeout(release), true);
  window.addEventListener("click", () => setTimeout(release), true);
}

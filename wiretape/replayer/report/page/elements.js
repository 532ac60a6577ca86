// Elements are made one by one and texts are set as text: nothing that was sent is ever read as HTML.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}
function make(tag, attributes = {}, ...children) { return fill(document.createElement(tag), attributes, children); }
function draw(tag, attributes = {}, ...children) { return fill(document.createElementNS(SVG, tag), attributes, children); }
function byId(id) { return document.getElementById(id); }

// Three significant digits.
function took(us) {
  if (!us) return "";
  return us < 1e6 ? `${Number((us / 1e3).toPrecision(3))} ms` : `${Number((us / 1e6).toPrecision(3))} s`;
}
function plural(number, noun) { return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`; }

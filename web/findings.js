// Lists what a check found, a line each; what has to be mended stands out.

import * as parts from "./parts.js";

const { el, t } = parts;
const MARKS = { good: "✓", look: "•", mend: "✗", unknown: "?" };

class Findings {
  constructor(node) {
    this.node = node;
    this.list = el("div", { class: "con360-findings" });
    this.root = el("div", {}, this.list);
  }

  update() {
    const { findings = [] } = parts.outputOf(this.node) ?? {};
    const row = ({ state, name, line }) =>
      el("div", { class: `con360-${state}`, title: state }, `${MARKS[state]} ${name}: ${line}`);
    this.list.replaceChildren(...(findings.length ? findings.map(row) : [t("runToSee")]));
  }
}

export function addFindings(node) {
  const found = new Findings(node);
  parts.addPanel(node, "findings", found.root);
  parts.watch(node, () => [parts.outputOf(node)], () => found.update(), () => {});
}

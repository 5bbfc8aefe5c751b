// Who looks: which key, and what it may.

import { get, key } from "../api.js";
import { facts, write } from "./elements.js";

export class Me {
  admin = false;

  constructor({ button, list, page }) {
    Object.assign(this, { button, list, page });
  }

  /** Whether what may be done is another than before. Raises Problem. */
  async look() {
    const me = await get("v1/me");
    const changed = me.admin !== this.admin;
    this.admin = me.admin;
    this.page.classList.toggle("admins", me.admin);
    this.button.hidden = !key.get();
    write(this.button, me.name ?? "Key");
    facts(this.list, [
      ["Key", me.id],
      ["Name", me.name],
      ["May", me.admin ? "see and change everything" : "see its own jobs, and how the service is doing"],
      ["Scopes", me.scopes.join(", ")],
    ]);
    return changed;
  }
}

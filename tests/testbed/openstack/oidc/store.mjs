// The storage of oidc-provider's grants and tokens: in memory, while the process runs.

const entries = new Map();
const TOKENS = ['AccessToken', 'ClientCredentials', 'RefreshToken'];
const issued = new Set();

const key = (model, id) => `${model}:${id}`;
const alive = (entry) => entry !== undefined && (entry.expires === null || entry.expires > Date.now());

function forget(condition) {
  let count = 0;
  for (const [name, entry] of entries) {
    if (condition(entry)) {
      entries.delete(name);
      count += 1;
    }
  }
  return count;
}

/** The entries of one model, with the methods that oidc-provider calls. */
export class MemoryStore {
  constructor(model) {
    this.model = model;
  }

  async upsert(id, payload, expiresIn) {
    const expires = expiresIn ? Date.now() + expiresIn * 1000 : null;
    entries.set(key(this.model, id), { model: this.model, payload, expires });
    if (TOKENS.includes(this.model)) issued.add(id);
  }

  async find(id) {
    const entry = entries.get(key(this.model, id));
    return alive(entry) ? structuredClone(entry.payload) : undefined;
  }

  async findByUid(uid) {
    return this.#findBy('uid', uid);
  }

  async findByUserCode(userCode) {
    return this.#findBy('userCode', userCode);
  }

  async consume(id) {
    const entry = entries.get(key(this.model, id));
    if (entry !== undefined) entry.payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    entries.delete(key(this.model, id));
  }

  async revokeByGrantId(grantId) {
    forget((entry) => entry.payload.grantId === grantId);
  }

  #findBy(field, value) {
    for (const entry of entries.values()) {
      if (entry.model === this.model && entry.payload[field] === value && alive(entry)) {
        return structuredClone(entry.payload);
      }
    }
    return undefined;
  }
}

/** Remove all entries of the given models; return their number. */
export function drop(...models) {
  return forget((entry) => models.includes(entry.model));
}

/** All tokens issued so far, valid or not: the id of an opaque token is the token. */
export function issuedTokens() {
  return [...issued];
}

/** The way to one instance: its Unix socket, and who uses it. */
export class Line<Bond = unknown> {
  readonly instance: string
  readonly path: string
  /** Connections that lead over it. */
  readonly bonds = new Set<Bond>()
  /** New connections, and requests of old ones, go this way. */
  isDirected = true
  #onEmpty: (() => void)[] = []

  constructor(instance: string, path: string) {
    this.instance = instance
    this.path = path
  }

  release(bond: Bond): void {
    if (!this.bonds.delete(bond) || this.bonds.size > 0) return
    for (const tell of this.#onEmpty.splice(0)) tell()
  }

  /** Resolves once nobody uses it, at once when that is so. */
  async empty(): Promise<void> {
    if (this.bonds.size > 0) await new Promise<void>((resolve) => this.#onEmpty.push(resolve))
  }
}

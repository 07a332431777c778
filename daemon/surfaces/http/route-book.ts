import type { FastifyInstance } from 'fastify'

/** Knows which methods a path has, so that a wrong one is answered 405 and not 404. */
export class RouteBook {
  readonly #routes: { readonly methods: readonly string[]; readonly matches: RegExp }[] = []

  /** To be made before the first route. */
  constructor(app: FastifyInstance) {
    app.addHook('onRoute', ({ method, url, schema }) => {
      // The route that catches unknown commands would claim every name.
      if (url.endsWith('/:name') && (schema as { hide?: boolean } | undefined)?.hide === true) return
      const pattern = url
        .split('/')
        .map((part) => (part.startsWith(':') ? '[^/]+' : part === '*' ? '.*' : literal(part)))
        .join('/')
      this.#routes.push({ methods: [method].flat(), matches: new RegExp(`^${pattern}$`) })
    })
  }

  methodsOf(path: string): readonly string[] {
    const methods = this.#routes.filter(({ matches }) => matches.test(path)).flatMap((route) => route.methods)
    return [...new Set(methods)].sort()
  }
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

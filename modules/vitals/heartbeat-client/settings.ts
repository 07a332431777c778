/** The module's configuration, as `config` of `module.json` describes it. */
export interface Settings {
  readonly interval_ms: number
  readonly target: 'console' | 'udp' | 'http'
  readonly deadline_ms: number
  readonly udp: { readonly host: string; readonly port?: number }
  readonly http: { readonly url?: string }
}

/** Where beats go, as people read it; without what a query may hold. */
export function describeTarget({ target, udp, http }: Settings): string {
  if (target === 'udp') return `udp ${udp.host}:${udp.port}`
  if (target === 'http') return `http ${(http.url ?? '').replace(/[?#].*$/s, '')}`
  return 'console'
}

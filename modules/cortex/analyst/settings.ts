/** The module's configuration, as `config` of `module.json` describes it. */
export interface Settings {
  readonly rows_min: number
  readonly segments_max: number
  readonly buckets: number
  readonly false_discovery_rate: number
  readonly missing: readonly string[]
  readonly missions_max: number
}

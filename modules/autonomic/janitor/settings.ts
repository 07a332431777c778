/** The module's configuration, as `config` of `module.json` describes it. */
export interface Settings {
  readonly missions_max: number
  readonly samples_max: number
  readonly entries_max: number
  readonly min_age_hours: number
  readonly disk_used_percent: number
}

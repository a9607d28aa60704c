export { concerns, groupOf, metricGroups, type MetricGroup } from './metric-groups';
export type { CurvesData, InsightData, InsightSample, Json, NoticeData, PageData, RunData, RunStatus, SamplesData, StageData } from './page-data';
export { insightFile, readInsight } from './insight';
export { readReport } from './read-report';
export { ReportKeeper, type ReportKeeperOptions } from './report-keeper';
export { serveReport, type ReportServer, type ServeReportOptions } from './serve-report';
export { reportFile, reportHtml, writeReport } from './write-report';

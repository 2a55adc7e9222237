/* The result of a run as lines for people and as one JSON object for programs (all durations in
 * microseconds, sizes in bytes). */
#include "cli/bench/load.h"

static const char *const shape_names[] = {"flow", "idle", "subscriptions", "retained", "sessions"};

static double per_s(uint64_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

static double percent(uint64_t cpu_ns, double seconds)
{
    return seconds > 0 ? (double)cpu_ns * 1e-7 / seconds : 0;
}

static double cpu_s_per_million(const struct load_result *result)
{
    return result->delivered > 0
               ? (double)result->broker_cpu_ns * 1e-9 / ((double)result->delivered * 1e-6)
               : 0;
}

static int64_t lost(const struct load_result *result)
{
    return (int64_t)(result->expected - result->arrived);
}

static double quantile_us(const struct load_result *result, double part)
{
    return (double)histogram_quantile(&result->latency, part) * 1e-3;
}

/* The generator had no time left while the broker had. */
static bool generator_was_the_limit(const struct load_options *options,
                                    const struct load_result *result)
{
    return options->shape == LOAD_FLOW && percent(result->generator_cpu_ns, result->seconds) > 90 &&
           percent(result->broker_cpu_ns, result->seconds) < 95;
}

char *load_result_to_json(const struct load_options *options, const struct load_result *result)
{
    GString *to = g_string_new("{");
    g_string_append_printf(
        to,
        "\"shape\":\"%s\",\"qos\":%u,\"publishers\":%u,\"subscribers\":%u,\"payload_bytes\":%u,",
        shape_names[options->shape], options->qos, options->publishers, options->subscribers,
        options->payload_bytes);
    g_string_append_printf(to,
                           "\"seconds\":%.3f,\"published\":%" G_GUINT64_FORMAT
                           ",\"acked\":%" G_GUINT64_FORMAT ",\"delivered\":%" G_GUINT64_FORMAT ",",
                           result->seconds, result->published, result->acked, result->delivered);
    g_string_append_printf(
        to, "\"published_per_s\":%.0f,\"acked_per_s\":%.0f,\"delivered_per_s\":%.0f,",
        per_s(result->published, result->seconds), per_s(result->acked, result->seconds),
        per_s(result->delivered, result->seconds));
    g_string_append_printf(to,
                           "\"expected\":%" G_GUINT64_FORMAT ",\"lost\":%" G_GINT64_FORMAT
                           ",\"duplicates\":%" G_GUINT64_FORMAT ",",
                           result->expected, lost(result), result->duplicates);
    g_string_append_printf(
        to, "\"latency_us\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f},",
        quantile_us(result, 0.5), quantile_us(result, 0.9), quantile_us(result, 0.99),
        quantile_us(result, 0.999), (double)result->latency.most * 1e-3);
    g_string_append_printf(to,
                           "\"broker_cpu_percent\":%.1f,\"broker_cpu_s_per_million\":%.5f,"
                           "\"generator_cpu_percent\":%.1f,",
                           percent(result->broker_cpu_ns, result->seconds),
                           cpu_s_per_million(result),
                           percent(result->generator_cpu_ns, result->seconds));
    g_string_append_printf(to, "\"generator_was_the_limit\":%s,",
                           generator_was_the_limit(options, result) ? "true" : "false");
    g_string_append_printf(
        to,
        "\"steps\":%" G_GUINT64_FORMAT
        ",\"connects_per_s\":%.0f,\"subscribes_per_s\":%.0f,\"stores_per_s\":%.0f,"
        "\"fetches_per_s\":%.0f,",
        result->steps, result->connects_per_s, result->subscribes_per_s, result->stores_per_s,
        result->fetches_per_s);
    g_string_append_printf(
        to,
        "\"rss_before_bytes\":%" G_GUINT64_FORMAT ",\"rss_after_bytes\":%" G_GUINT64_FORMAT
        ",\"pss_before_bytes\":%" G_GUINT64_FORMAT ",\"pss_after_bytes\":%" G_GUINT64_FORMAT "}",
        result->before.rss_bytes, result->after.rss_bytes, result->before.pss_bytes,
        result->after.pss_bytes);
    return g_string_free(to, FALSE);
}

static void report_flow(GString *to, const struct load_options *options,
                        const struct load_result *result)
{
    g_string_append_printf(to, "published    %10.0f /s\n",
                           per_s(result->published, result->seconds));
    if (options->qos > 0 && options->shape == LOAD_FLOW) {
        g_string_append_printf(to, "acknowledged %10.0f /s\n",
                               per_s(result->acked, result->seconds));
    }
    g_string_append_printf(to, "delivered    %10.0f /s\n",
                           per_s(result->delivered, result->seconds));
    g_string_append_printf(to, "lost         %10" G_GINT64_FORMAT " of %" G_GUINT64_FORMAT "%s\n",
                           lost(result), result->expected,
                           options->qos == 0 ? " (QoS 0 may be dropped)" : "");
    g_string_append_printf(to, "twice        %10" G_GUINT64_FORMAT "\n", result->duplicates);
    if (result->latency.count > 0) {
        g_string_append_printf(
            to, "latency      p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f microseconds\n",
            quantile_us(result, 0.5), quantile_us(result, 0.9), quantile_us(result, 0.99),
            quantile_us(result, 0.999), (double)result->latency.most * 1e-3);
    }
}

char *load_result_to_text(const struct load_options *options, const struct load_result *result)
{
    GString *to = g_string_new(NULL);
    if (result->connects_per_s > 0) {
        g_string_append_printf(to, "connected    %10.0f /s\n", result->connects_per_s);
    }
    if (result->subscribes_per_s > 0) {
        g_string_append_printf(to, "subscribed   %10.0f /s\n", result->subscribes_per_s);
    }
    if (result->stores_per_s > 0) {
        g_string_append_printf(to, "stored       %10.0f /s\n", result->stores_per_s);
        g_string_append_printf(to, "fetched      %10.0f /s\n", result->fetches_per_s);
    }
    if (result->expected > 0) {
        report_flow(to, options, result);
    }
    if (result->seconds > 0 && result->generator_cpu_ns > 0) {
        g_string_append_printf(to, "generator    %10.1f %% of a core\n",
                               percent(result->generator_cpu_ns, result->seconds));
    }
    if (options->pid > 0) {
        if (result->broker_cpu_ns > 0) {
            g_string_append_printf(
                to, "broker       %10.1f %% of a core, %.3f s per million delivered\n",
                percent(result->broker_cpu_ns, result->seconds), cpu_s_per_million(result));
        }
        g_string_append_printf(to, "memory       %10.1f MB before, %.1f MB after\n",
                               (double)result->before.rss_bytes * 1e-6,
                               (double)result->after.rss_bytes * 1e-6);
        if (result->steps > 0) {
            g_string_append_printf(
                to, "             %10.1f bytes each\n",
                ((double)result->after.rss_bytes - (double)result->before.rss_bytes) /
                    (double)result->steps);
        }
    }
    if (generator_was_the_limit(options, result)) {
        g_string_append(to, "The generator was the limit: the broker could do more.\n");
    }
    return g_string_free(to, FALSE);
}

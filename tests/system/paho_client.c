/* One MQTT client on Eclipse Paho C: paho_client URI ID VERSION sub TOPIC QOS COUNT | pub TOPIC QOS
 * TEXT... Prints "ready" when it has subscribed, then "QOS TOPIC TEXT" for each message. */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 30000

static int subscribe(MQTTClient client, int is_5, const char *filter, int qos, int count)
{
    int status;

    if (is_5) {
        MQTTResponse response = MQTTClient_subscribe5(client, filter, qos, NULL, NULL);
        status = response.reasonCode == (enum MQTTReasonCodes)qos ? 0 : 1;
        MQTTResponse_free(response);
    } else {
        status = MQTTClient_subscribe(client, filter, qos);
    }
    if (status != 0) {
        fprintf(stderr, "not subscribed: %d\n", status);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        char *topic = NULL;
        int topic_length;
        MQTTClient_message *message = NULL;
        status = MQTTClient_receive(client, &topic, &topic_length, &message, TIMEOUT_MS);
        if (status != MQTTCLIENT_SUCCESS || !message) {
            fprintf(stderr, "nothing came: %d\n", status);
            return 1;
        }
        printf("%d %s %.*s\n", message->qos, topic, message->payloadlen,
               (const char *)message->payload);
        fflush(stdout);
        MQTTClient_freeMessage(&message);
        MQTTClient_free(topic);
    }
    return 0;
}

static int publish(MQTTClient client, int is_5, const char *topic, int qos, const char *text)
{
    MQTTClient_deliveryToken token;
    int length = (int)strlen(text);
    int status;

    if (is_5) {
        MQTTResponse response =
            MQTTClient_publish5(client, topic, length, text, qos, 0, NULL, &token);
        status = response.reasonCode == MQTTREASONCODE_SUCCESS ? 0 : 1;
        MQTTResponse_free(response);
    } else {
        status = MQTTClient_publish(client, topic, length, text, qos, 0, &token);
    }
    if (status == 0 && qos > 0) {
        status = MQTTClient_waitForCompletion(client, token, TIMEOUT_MS);
    }
    if (status != 0) {
        fprintf(stderr, "not published: %d\n", status);
    }
    return status != 0;
}

static int connect_to(MQTTClient client, int version)
{
    MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions options_5 = MQTTClient_connectOptions_initializer5;
    int status;

    if (version == MQTTVERSION_5) {
        MQTTResponse response = MQTTClient_connect5(client, &options_5, NULL, NULL);
        status = response.reasonCode;
        MQTTResponse_free(response);
    } else {
        options.MQTTVersion = version;
        options.cleansession = 1;
        status = MQTTClient_connect(client, &options);
    }
    if (status != 0) {
        fprintf(stderr, "not connected: %d\n", status);
    }
    return status != 0;
}

int main(int argc, char **argv)
{
    if (argc < 8) {
        fprintf(stderr, "paho_client URI ID VERSION sub|pub TOPIC QOS COUNT|TEXT...\n");
        return 2;
    }
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    MQTTClient client;
    int version = atoi(argv[3]);
    int is_5 = version == MQTTVERSION_5;
    int qos = atoi(argv[6]);

    create.MQTTVersion = version;
    int failed = MQTTClient_createWithOptions(&client, argv[1], argv[2],
                                              MQTTCLIENT_PERSISTENCE_NONE, NULL, &create) != 0;
    failed = failed || connect_to(client, version);
    if (!failed && strcmp(argv[4], "sub") == 0) {
        failed = subscribe(client, is_5, argv[5], qos, atoi(argv[7]));
    }
    for (int i = 7; !failed && strcmp(argv[4], "pub") == 0 && i < argc; i++) {
        failed = publish(client, is_5, argv[5], qos, argv[i]);
    }
    if (is_5) {
        MQTTClient_disconnect5(client, 1000, MQTTREASONCODE_SUCCESS, NULL);
    } else {
        MQTTClient_disconnect(client, 1000);
    }
    MQTTClient_destroy(&client);
    return failed;
}

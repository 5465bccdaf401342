/* SPDX-License-Identifier: Apache-2.0 */
/* The peer listener's endpoints about access logs; struct log_service is made by the front door. */
#ifndef HANDLERS_LOG_SERVICE_H
#define HANDLERS_LOG_SERVICE_H

#include "handlers/handlers.h"

/* On an HTTP thread; service NULL: there is no log here. */
void log_service_checkpoint(struct log_service *service, struct http_request *request);
void log_service_tile(struct log_service *service, struct http_request *request);
void log_service_add_checkpoint(struct log_service *service, struct http_request *request);

#endif
